import { SwitchyardError } from '../../../errors.js';
import { DEFAULT_DOCUMENT_TEMPLATE } from '../../document-text.js';
import type { RunStep } from '../step.js';

/** The new version from its source or from the old one's texts; a version that has a build already is left as it is. */
export const runBuild: RunStep<'build'> = async (context) => {
  const { migration, state, registry, ports, step } = context;
  const { corpus, fromVersion, toVersion } = migration;
  const { options } = step;
  const versions = await registry.corpusVersions.list({ corpus });
  const known = versions.find(({ version }) => version === toVersion) ?? null;
  if (known !== null && known.defaultBuild !== null)
    return {
      kind: 'step_done',
      findings: { built: false, why: `${corpus}/${toVersion} is ${known.status} already` },
    };
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
      quantization: options.quantization,
      expansionSearch: options.expansion_search,
      truncatedShareMax: options.truncated_share_max,
      checkpointDocuments: options.checkpoint_documents,
    },
    context,
  );
  return { kind: 'step_done', findings };
};
