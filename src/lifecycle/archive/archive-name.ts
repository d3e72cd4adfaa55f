import { SwitchyardError } from '../../errors.js';
import { DIGEST_PREFIX_LENGTH, isCorpusName, isVersionName } from '../../vocabulary.js';

/** Folder of an archive within its store: `<corpus>/<version>/<16 hex of the build>`. */
export const archiveName = (corpus: string, version: string, build: string): string =>
  `${corpus}/${version}/${build.slice(0, DIGEST_PREFIX_LENGTH)}`;

/** Splits the address of an archive into its store's and its name. Errors: INVALID_ARGUMENT. */
export function splitArchiveUri(uri: string): { readonly storeUri: string; readonly name: string } {
  const [, storeUri, corpus, version, build] = /^(.+)\/([^/]+)\/([^/]+)\/([0-9a-f]{16})\/?$/.exec(uri) ?? [];
  if (
    storeUri === undefined ||
    build === undefined ||
    !isCorpusName(corpus ?? '') ||
    !isVersionName(version ?? '')
  )
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `${uri} does not name an archive: expected <place>/<corpus>/<version>/<16 hex of the build>`,
    );
  return { storeUri, name: `${corpus}/${version}/${build}` };
}
