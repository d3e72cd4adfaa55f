import { SwitchyardError, toSwitchyardError } from '../errors.js';
import { type ExecutionProvider, modelRef } from '../vocabulary.js';
import { RunCost } from './batching.js';
import type { ChildConfig } from './child-protocol.js';
import type { ModelFolder } from './manifest.js';
import { readModelFolder } from './model-folder.js';
import { reproduceProbes } from './probes.js';
import { isProviderLoaded, providerProblem } from './providers.js';
import { ModelSession } from './session.js';

export interface StartedSession {
  readonly session: ModelSession;
  readonly provider: ExecutionProvider;
  /** Why it is not the first of the configured providers; null when it is. */
  readonly fallbackReason: string | null;
  readonly worstProbeCosine: number;
  readonly cost: RunCost;
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
      const opened = await openOn(provider, folder, config.threads);
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
  provider: ExecutionProvider,
  folder: ModelFolder,
  threads: number,
): Promise<Pick<StartedSession, 'session' | 'worstProbeCosine' | 'cost'>> {
  const problem = providerProblem(provider);
  if (problem !== null)
    throw new SwitchyardError(
      'PROVIDER_UNAVAILABLE',
      `the execution provider ${provider} cannot be had: ${problem}`,
      {
        details: { provider },
      },
    );
  const session = await ModelSession.open(folder, { provider, threads });
  try {
    if (!isProviderLoaded(provider))
      throw new SwitchyardError(
        'PROVIDER_UNAVAILABLE',
        `the execution provider ${provider} was asked for but is not what the runtime uses; check its driver and libraries, or use cpu`,
        { details: { provider } },
      );
    const worstProbeCosine = await reproduceProbes(session, folder);
    return { session, worstProbeCosine, cost: await measureRun(session) };
  } catch (error) {
    await session.release();
    throw error;
  }
}

/** What a usual short batch costs, measured twice: the first run of a shape prepares it. */
async function measureRun(session: ModelSession): Promise<RunCost> {
  const texts = session.tokenize(
    Array.from({ length: 4 }, () => WARM_UP_TEXT),
    'query',
  );
  const paddedTokens = texts.reduce((sum, text) => sum + text.ids.length, 0);
  await session.run(texts);
  const startMs = performance.now();
  await session.run(texts);
  return new RunCost(paddedTokens, (performance.now() - startMs) * 1000);
}

const WARM_UP_TEXT = 'a sentence of about sixteen words, as people write them when they search for something';
