import { SwitchyardError } from '../../../errors.js';
import type { BundleManifest } from '../../../index/manifest.js';
import type { Chunking } from '../../chunking.js';
import { DEFAULT_DOCUMENT_TEMPLATE } from '../../document-text.js';
import { differences, differing, takenAsItIs } from '../built-before.js';
import { chunkingOf } from '../plan.js';
import type { RunStep, StepContext } from '../step.js';

const QUANTIZATION = 'bf16';
const EXPANSION_SEARCH = 128;

type Context = StepContext<'build'>;

/**
 * The new version from its source or from the old one's texts. One that has a build already is taken as it is, when that
 * is what the step says. Errors: STATUS_CONFLICT when it is another; INVALID_PLAN; those of a build.
 */
export const runBuild: RunStep<'build'> = async (context) => {
  const { migration, state, registry, ports, step } = context;
  const { corpus, fromVersion, toVersion } = migration;
  const { options } = step;
  const versions = await registry.corpusVersions.list({ corpus });
  const known = versions.find(({ version }) => version === toVersion) ?? null;
  if (known !== null && known.defaultBuild !== null)
    return { kind: 'step_done', findings: await takenBuild(context) };
  const old = versions.find(({ version }) => version === fromVersion) ?? null;
  const model = options.model ?? known?.modelRef ?? null;
  if (model === null)
    throw new SwitchyardError(
      'INVALID_PLAN',
      `the plan's build step names no model, and ${corpus}/${toVersion} was never begun with one: abort, and start again with a model`,
    );
  const { findings } = await ports.build(
    {
      corpus,
      version: toVersion,
      from:
        options.source === null
          ? { kind: 'version', version: fromVersion, build: state.facts.from.build }
          : { kind: 'file', file: options.source },
      model,
      documentTemplate:
        options.document_template ??
        known?.documentTemplate ??
        old?.documentTemplate ??
        DEFAULT_DOCUMENT_TEMPLATE,
      chunking: await chunkingFor(context),
      quantization: options.quantization ?? QUANTIZATION,
      expansionSearch: options.expansion_search ?? EXPANSION_SEARCH,
      truncatedShareMax: options.truncated_share_max,
      checkpointDocuments: options.checkpoint_documents,
    },
    context,
  );
  return { kind: 'step_done', findings };
};

async function takenBuild({ migration, registry, ports, step: { options } }: Context) {
  const { corpus, toVersion: version } = migration;
  const { digest: build, manifest: recorded } = await registry.builds.get({ corpus, version }, null);
  const manifest = recorded as BundleManifest;
  const before = { corpus, version, build, manifest };
  const fingerprint =
    options.model === null ? null : (await registry.models.resolve(options.model)).fingerprint;
  const other = options.source === null ? null : await ports.otherSource(options.source, manifest.source);
  const found = [...differences(before, options, fingerprint), ...(other === null ? [] : [other])];
  if (found.length > 0) throw differing(before, found);
  await ports.forgetWork(manifest);
  const { model, source } = manifest;
  return { built: false, why: takenAsItIs(before), build, model: `${model.name}@${model.version}`, source };
}

/** Where the plan leaves it open, documents are cut as they were for the old version. */
async function chunkingFor({ migration, state, registry, step }: Context): Promise<Chunking | null> {
  const planned = chunkingOf(step.options);
  if (planned !== 'like the old version') return planned;
  const old = { corpus: migration.corpus, version: migration.fromVersion };
  const { manifest } = await registry.builds.get(old, state.facts.from.build);
  const { chunking } = manifest as BundleManifest;
  return chunking === undefined
    ? null
    : { tokensMax: chunking.tokens_max, overlapTokens: chunking.overlap_tokens };
}
