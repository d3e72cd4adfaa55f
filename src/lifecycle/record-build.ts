import { pathToFileURL } from 'node:url';
import { SwitchyardError } from '../errors.js';
import { realFolderInside } from '../files/inside.js';
import { bundleFolder } from '../index/bundle-folder.js';
import type { Bundle } from '../index/manifest.js';
import { readBundle } from '../index/read-bundle.js';
import { checkExpected } from '../index/search-pool.js';
import { verifyBundle } from '../index/verify-bundle.js';
import type { RecordedBuild } from '../registry/builds.js';
import type { ChangeAuthor } from '../registry/changes.js';
import type { Registry } from '../registry/registry.js';
import { type Digest, digestPrefix, isCorpusName, isDigest, isVersionName } from '../vocabulary.js';

export interface PublishedBuild {
  readonly corpus: string;
  readonly version: string;
  /** SHA-256 of the bundle's manifest; names its folder. */
  readonly digest: string;
  /** Also of a version that has a default build. */
  readonly makeDefault: boolean;
  readonly author: ChangeAuthor;
}

/**
 * Records the bundle that lies in a bundles folder under these names. A version becomes `ready` by it, so all of it is
 * verified here: every file is hashed, and the manifest must agree with the version and its registered model.
 * Errors: INVALID_ARGUMENT, UNKNOWN_CORPUS(_VERSION), UNKNOWN_BUILD, CORRUPT_BUNDLE, FINGERPRINT_MISMATCH,
 * STATUS_CONFLICT, ALREADY_EXISTS.
 */
export async function recordBuild(
  registry: Registry,
  bundlesFolder: string,
  build: PublishedBuild,
): Promise<RecordedBuild> {
  const { corpus, version } = build;
  const digest = checkNames(build);
  const { fingerprint } = await registry.corpusVersions.get({ corpus, version });
  const model = await registry.models.resolve(fingerprint);
  const folder = bundleFolder(bundlesFolder, corpus, version, digest);
  const bundle = await bundleIn(bundlesFolder, folder, digest);
  if (bundle.digest !== digest || bundle.manifest.corpus !== corpus || bundle.manifest.version !== version)
    throw new SwitchyardError(
      'CORRUPT_BUNDLE',
      `manifest.json in ${folder} is of build ${digestPrefix(bundle.digest)} of ${bundle.manifest.corpus}/${bundle.manifest.version}: build the version again`,
      { details: { file: 'manifest.json' } },
    );
  checkExpected(bundle, model);
  await verifyBundle(bundle);
  return registry.builds.record({
    bundle,
    uri: pathToFileURL(folder).href,
    makeDefault: build.makeDefault,
    author: build.author,
  });
}

async function bundleIn(bundlesFolder: string, folder: string, digest: Digest): Promise<Bundle> {
  const real = await realFolderInside(bundlesFolder, folder);
  if (real !== null) return readBundle(real);
  throw new SwitchyardError(
    'UNKNOWN_BUILD',
    `there is no bundle ${digestPrefix(digest)} in ${folder}: build it there first with \`switchyard corpus build\``,
  );
}

/** The names make a path, so their syntax is what keeps it inside. */
function checkNames({ corpus, version, digest }: PublishedBuild): Digest {
  const wrong = (field: string, rule: string): SwitchyardError =>
    new SwitchyardError('INVALID_ARGUMENT', `${field} must be ${rule}`, { details: { field } });
  if (!isCorpusName(corpus)) throw wrong('corpus', 'lower-case letters, digits, _ and -, 1..64 characters');
  if (!isVersionName(version)) throw wrong('version', 'letters, digits, . _ and -, 1..32 characters');
  if (!isDigest(digest)) throw wrong('digest', '64 lower-case hex digits');
  return digest;
}
