import { SwitchyardError, toSwitchyardError } from '../errors.js';
import { type Device, modelRef, providerOf } from '../vocabulary.js';
import { BackgroundCap } from './background-cap.js';
import { type Batcher, LengthSortedBatcher, PinnedBatcher } from './batcher.js';
import { RunCost } from './batching.js';
import type { ChildConfig } from './child-protocol.js';
import type { ModelFolder } from './manifest.js';
import { readModelFolder } from './model-folder.js';
import { PinnedShapes } from './pinned-shapes.js';
import { reproduceProbes } from './probes.js';
import { isProviderLoaded, providerProblem } from './providers.js';
import { ModelSession } from './session.js';
import { ShapeCosts } from './shape-costs.js';

export interface StartedSession {
  readonly session: ModelSession;
  readonly provider: Device;
  /** Why it is not the first of the configured providers; null when it is. */
  readonly fallbackReason: string | null;
  readonly worstProbeCosine: number;
  readonly batcher: Batcher;
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
): Promise<Pick<StartedSession, 'session' | 'worstProbeCosine' | 'batcher'>> {
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
    return { session, worstProbeCosine, batcher: await openBatcher(session, provider, config) };
  } catch (error) {
    await session.release();
    throw error;
  }
}

/**
 * On the CPU a usual short batch is measured; the probes have run before, and there a first run of a shape costs what the
 * next one does. On an accelerator every pinned shape is run until it is warm.
 */
async function openBatcher(
  session: ModelSession,
  device: Device,
  { batchTokensMax, batchDelayMsMax, accelerator, ...config }: ChildConfig,
): Promise<Batcher> {
  const background = new BackgroundCap(config.backgroundRunMsMax ?? Number.POSITIVE_INFINITY, () =>
    performance.now(),
  );
  const [text] = session.tokenize([WARM_UP_TEXT], 'query');
  if (text === undefined) throw new SwitchyardError('INTERNAL', 'the tokenizer gave no tokens for a text');
  if (providerOf(device) === 'cpu') {
    const texts = Array.from({ length: WARM_UP_TEXTS }, () => text);
    await session.run(texts);
    const runUs = await timedRunUs(() => session.run(texts));
    const cost = new RunCost(texts.length * text.ids.length, runUs);
    return new LengthSortedBatcher(batchTokensMax, batchDelayMsMax, background, cost);
  }
  const shapes = new PinnedShapes({
    texts: accelerator.batchTexts,
    lengths: accelerator.batchLengths,
    tokensMax: accelerator.batchTokensMax,
    textTokensMax: session.manifest.max_tokens,
  });
  const costs = new ShapeCosts();
  for (const shape of shapes.all) {
    // Cut to the shape: what the tokens say is all the same here.
    const ids = text.ids.subarray(0, shape.tokens);
    const cut = { ...text, ids, typeIds: text.typeIds.subarray(0, shape.tokens) };
    for (let run = 0; run < WARM_UP_RUNS; run++) {
      const runUs = await timedRunUs(() => session.run([cut], shape));
      if (run === WARM_UP_RUNS - 1) costs.observe(shape, runUs);
    }
  }
  return new PinnedBatcher(shapes, accelerator.batchDelayMsMax, background, costs);
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
