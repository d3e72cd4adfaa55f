import { SwitchyardError, toSwitchyardError } from '../../src/errors.js';
import { DEFAULT_BACKOFF } from '../../src/process/backoff.js';
import type { Route, RouteTarget } from '../../src/registry/route.js';
import { ComparisonRecorder, DEFAULT_RECORDER } from '../../src/router/comparison-recorder.js';
import type {
  Blame,
  RouterMetrics,
  StageTimes,
  TargetLabels,
  TrafficKind,
} from '../../src/router/metrics.js';
import { DEFAULT_MIRROR, type MirrorOptions } from '../../src/router/mirror-lane.js';
import type { SearchCall } from '../../src/router/query.js';
import { Router, type RouterOptions } from '../../src/router/router.js';
import type { Revision } from '../../src/vocabulary.js';
import {
  type BuildPlan,
  CORPUS,
  createEngines,
  DOCUMENTS,
  type Engines,
  fingerprintOf,
  seededRandom,
} from './small-engines.js';

export const V1: BuildPlan = { name: 'v1', version: 'v1', model: 'alpha', documents: DOCUMENTS };
export const V2: BuildPlan = { name: 'v2', version: 'v2', model: 'beta', documents: DOCUMENTS };
/** A second build of v1: the same model, fewer documents, so that it answers something else. */
export const V1B: BuildPlan = {
  name: 'v1b',
  version: 'v1',
  model: 'alpha',
  documents: DOCUMENTS.slice(0, 40),
};
export const V3: BuildPlan = { name: 'v3', version: 'v3', model: 'gamma', documents: DOCUMENTS };
export const PLANS: readonly BuildPlan[] = [V1, V2, V1B, V3];

export const route = (revision: number, targets: readonly RouteTarget[], corpus = CORPUS): Route => ({
  corpus,
  revision: revision as Revision,
  salt: 'salt',
  targets,
});

export const textCall = (text: string, over: Partial<SearchCall> = {}): SearchCall => ({
  corpus: CORPUS,
  query: { kind: 'text', text },
  topK: 10,
  model: null,
  corpusVersion: null,
  affinityKey: null,
  withDocument: false,
  bypassCache: false,
  priority: 'live',
  deadlineAtMs: Number.POSITIVE_INFINITY,
  ...over,
});

export const vectorCall = (values: Float32Array, over: Partial<SearchCall> = {}): SearchCall =>
  textCall('', { query: { kind: 'vector', values }, ...over });

/** Counts by label, the way a scrape would see them. */
export class CountingMetrics implements RouterMetrics {
  readonly counts = new Map<string, number>();
  readonly times: StageTimes[] = [];

  served(target: TargetLabels, kind: TrafficKind, times: StageTimes): void {
    this.add(`served ${target.version} ${kind}`);
    this.times.push(times);
  }

  failed(target: TargetLabels, kind: TrafficKind, _error: SwitchyardError, blame: Blame): void {
    this.add(`failed ${target.version} ${kind}`);
    if (blame !== 'none') this.add(`fault ${target.version} ${kind}`);
    if (blame === 'own') this.add(`cause ${target.version} ${kind}`);
  }

  mirrorOffered(shadow: TargetLabels): void {
    this.add(`offered ${shadow.version}`);
  }

  mirrorDropped(shadow: TargetLabels, why: string): void {
    this.add(`dropped ${shadow.version} ${why}`);
  }

  mirrorFailed(shadow: TargetLabels, error: unknown): void {
    this.add(`mirrorFailed ${shadow.version} ${toSwitchyardError(error).reason}`);
  }

  embedFailed({ modelRef }: { readonly modelRef: string }, error: unknown): void {
    this.add(`embedFailed ${modelRef} ${toSwitchyardError(error).reason}`);
  }

  mirrorCompared(_primary: TargetLabels, shadow: TargetLabels): void {
    this.add(`compared ${shadow.version}`);
  }

  of(name: string): number {
    return this.counts.get(name) ?? 0;
  }

  /** Sum of everything whose name begins so. */
  sum(prefix: string): number {
    return [...this.counts].reduce((sum, [name, count]) => sum + (name.startsWith(prefix) ? count : 0), 0);
  }

  private add(name: string): void {
    this.counts.set(name, this.of(name) + 1);
  }
}

export interface Rig {
  readonly router: Router;
  readonly engines: Engines;
  readonly metrics: CountingMetrics;
  readonly recorder: ComparisonRecorder;
  readonly errors: unknown[];
}

export interface RigOptions {
  readonly engines?: Engines;
  readonly mirror?: Partial<MirrorOptions>;
  readonly seed?: number;
  readonly over?: Partial<RouterOptions>;
}

export function createRig({ engines = createEngines(PLANS), mirror, seed = 1, over }: RigOptions = {}): Rig {
  const metrics = new CountingMetrics();
  const errors: unknown[] = [];
  const recorder = new ComparisonRecorder({ ...DEFAULT_RECORDER, hashKey: Buffer.from('test key') });
  const known = new Set(PLANS.flatMap(({ model }) => [`${model}@1`, fingerprintOf(model) as string]));
  const timers = over?.timers;
  if (timers !== undefined) engines.conditions.nowMs = () => timers.nowMs();
  const router = new Router({
    factories: engines.factories,
    limits: { textBytesMax: 1000, topKMax: 100 },
    metrics,
    mirror: { ...DEFAULT_MIRROR, ...mirror },
    recorder,
    isKnownModel: (model) => known.has(model),
    onError: (_, error) => errors.push(error),
    random: seededRandom(seed),
    backoff: { ...DEFAULT_BACKOFF, delayMsFirst: 1, delayMsMax: 2 },
    ...over,
  });
  return { router, engines, metrics, recorder, errors };
}

/** A promise and what settles it. */
export interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

export function createGate(): Gate {
  let open: () => void = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** The error a call was refused with. */
export async function refusal(answer: Promise<unknown>): Promise<SwitchyardError> {
  try {
    await answer;
  } catch (error) {
    if (error instanceof SwitchyardError) return error;
    throw error;
  }
  throw new Error('the call was answered');
}
