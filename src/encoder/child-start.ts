import { SwitchyardError, toSwitchyardError } from '../errors.js';
import { type Device, modelRef, providerOf } from '../vocabulary.js';
import type { RunShape } from './batch-tensors.js';
import { type MeasuredRuns, pinnedShapesOf } from './batching-plan.js';
import type { ChildConfig } from './child-protocol.js';
import type { ModelFolder } from './manifest.js';
import { readModelFolder } from './model-folder.js';
import { reproduceProbes } from './probes.js';
import { isProviderLoaded, providerProblem } from './providers.js';
import { ModelSession } from './session.js';

export interface StartedSession {
  readonly session: ModelSession;
  readonly provider: Device;
  /** Why it is not the first of the configured providers; null when it is. */
  readonly fallbackReason: string | null;
  readonly worstProbeCosine: number;
  readonly measured: MeasuredRuns;
}

/**
 * Verifies every file of the model, and opens it on the first provider in the configured order that reproduces the
 * probes. Errors: CORRUPT_MODEL, INVALID_MODEL, UNKNOWN_MODEL, FINGERPRINT_MISMATCH, PROVIDER_UNAVAILABLE,
 * PROBE_MISMATCH; none of them heals by another start alone.
 */
export async function startSession(config: ChildConfig): Promise<StartedSession> {
  const folder = await readModelFolder(config.folder);
  if (folder.manifest.fingerprint !== config.fingerprint)
    throw new SwitchyardError(
      'FINGERPRINT_MISMATCH',
      `${modelRef(folder.manifest)} has the fingerprint ${folder.manifest.fingerprint}, expected is ${config.fingerprint}; another model was put into its folder`,
    );
  const passedOver: string[] = [];
  let last: SwitchyardError | null = null;
  for (const provider of config.require ? config.providers.slice(0, 1) : config.providers) {
    try {
      const opened = await openOn(provider, folder, config);
      return { ...opened, provider, fallbackReason: passedOver.length === 0 ? null : passedOver.join('; ') };
    } catch (error) {
      last = toSwitchyardError(error);
      passedOver.push(`${provider}: ${last.message}`);
      // What the runtime itself said is for the log of the gateway alone.
      if (last.cause instanceof Error) process.stderr.write(`${provider}: ${last.cause.message}\n`);
    }
  }
  if (last === null)
    throw new SwitchyardError('INVALID_CONFIG', 'an encoder needs at least one execution provider');
  if (last.reason !== 'PROVIDER_UNAVAILABLE' || passedOver.length === 1) throw last;
  throw new SwitchyardError(
    'PROVIDER_UNAVAILABLE',
    `no execution provider works for ${modelRef(folder.manifest)}: ${passedOver.join('; ')}`,
    { details: { providers: config.providers.join(',') } },
  );
}

async function openOn(
  provider: Device,
  folder: ModelFolder,
  config: ChildConfig,
): Promise<Pick<StartedSession, 'session' | 'worstProbeCosine' | 'measured'>> {
  const problem = providerProblem(provider);
  if (problem !== null)
    throw new SwitchyardError(
      'PROVIDER_UNAVAILABLE',
      `the execution provider ${provider} cannot be had: ${problem}`,
      {
        details: { provider },
      },
    );
  const session = await ModelSession.open(folder, { provider, threads: config.threads });
  try {
    if (!isProviderLoaded(provider))
      throw new SwitchyardError(
        'PROVIDER_UNAVAILABLE',
        `the execution provider ${provider} was asked for but is not what the runtime uses; check its driver and libraries, or use cpu`,
        { details: { provider } },
      );
    const worstProbeCosine = await reproduceProbes(session, folder);
    return { session, worstProbeCosine, measured: await measureRuns(session, provider, config) };
  } catch (error) {
    await session.release();
    throw error;
  }
}

/**
 * On the CPU a usual short batch is measured; the probes have run before, and there a first run of a shape costs what the
 * next one does. On an accelerator every pinned shape is run until it is warm.
 */
async function measureRuns(
  session: ModelSession,
  device: Device,
  { accelerator }: ChildConfig,
): Promise<MeasuredRuns> {
  const text = session.tokenizeOne(WARM_UP_TEXT, 'query');
  if (providerOf(device) === 'cpu') {
    const texts = Array.from({ length: WARM_UP_TEXTS }, () => text);
    await session.run(texts);
    const runUs = await timedRunUs(() => session.run(texts));
    return { kind: 'usual', paddedTokens: texts.length * text.ids.length, runUs };
  }
  const runs: { shape: RunShape; runUs: number }[] = [];
  for (const shape of pinnedShapesOf(accelerator, session.manifest.max_tokens).all) {
    // Cut to the shape: what the tokens say is all the same here.
    const ids = text.ids.subarray(0, shape.tokens);
    const cut = { ...text, ids, typeIds: text.typeIds.subarray(0, shape.tokens) };
    for (let run = 0; run < WARM_UP_RUNS; run++) {
      const runUs = await timedRunUs(() => session.run([cut], shape));
      if (run === WARM_UP_RUNS - 1) runs.push({ shape, runUs });
    }
  }
  return { kind: 'pinned', runs };
}

async function timedRunUs(run: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await run();
  return (performance.now() - startMs) * 1000;
}

const WARM_UP_TEXT = 'a sentence of about sixteen words, as people write them when they search for something';
const WARM_UP_TEXTS = 4;
/** The last one is measured. */
const WARM_UP_RUNS = 3;
