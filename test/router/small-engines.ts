import { setImmediate as turn } from 'node:timers/promises';
import { withoutTokens } from '../../src/encoder/encode-request.js';
import type { EncodedBatch, EncodeRequest, Encoder, EncoderState } from '../../src/encoder/encoder.js';
import type { ModelManifest } from '../../src/encoder/manifest.js';
import { SwitchyardError } from '../../src/errors.js';
import type { Bundle } from '../../src/index/manifest.js';
import type { IndexAnswer, IndexQuery, SearchIndex } from '../../src/index/search-index.js';
import type { RouteTarget } from '../../src/registry/route.js';
import type { ModelSpec, TargetFactories, TargetSpec } from '../../src/router/targets.js';
import type { TargetRole } from '../../src/vocabulary.js';
import {
  type BuildPlan,
  buildOf,
  bundleOf,
  DIMENSIONS,
  digest,
  fingerprintOf,
  modelManifest,
} from './small-manifests.js';

export { type BuildPlan, buildOf, CORPUS, DIMENSIONS, fingerprintOf } from './small-manifests.js';

/**
 * Small real engines: an encoder that projects counted character trigrams through a seeded matrix, and an index that
 * searches its rows exactly. Every model has another space of the same dimension, so a pairing of model A with an
 * index of model B passes every dimension check and answers something else.
 */
const FEATURES = 64;

/** A text of which these encoders, as real ones of some, see nothing. */
export const WITHOUT_TOKENS = '\u200b';

/** Numbers in [0, 1) that depend on the seed alone. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const projections = new Map<string, Float32Array>();
function projectionOf(model: string): Float32Array {
  const known = projections.get(model);
  if (known !== undefined) return known;
  const random = seededRandom(Number.parseInt(digest(model).slice(0, 8), 16));
  const made = Float32Array.from({ length: FEATURES * DIMENSIONS }, () => random() * 2 - 1);
  projections.set(model, made);
  return made;
}

/** The vector of a text in a model's space, of norm 1. */
export function embedText(model: string, text: string): Float32Array {
  const counts = new Float32Array(FEATURES);
  const padded = ` ${text} `;
  for (let at = 0; at + 3 <= padded.length; at++) {
    let mixed = 2166136261;
    for (let of = at; of < at + 3; of++) mixed = Math.imul(mixed ^ padded.charCodeAt(of), 16777619);
    const feature = (mixed >>> 0) % FEATURES;
    counts[feature] = (counts[feature] as number) + 1;
  }
  const projection = projectionOf(model);
  const values = new Float32Array(DIMENSIONS);
  for (let dimension = 0; dimension < DIMENSIONS; dimension++) {
    let sum = 0;
    for (let feature = 0; feature < FEATURES; feature++)
      sum += (counts[feature] as number) * (projection[feature * DIMENSIONS + dimension] as number);
    values[dimension] = sum;
  }
  const norm = Math.hypot(...values) || 1;
  return values.map((value) => value / norm);
}

const NOUNS = [
  'cat',
  'dog',
  'owl',
  'whale',
  'horse',
  'mouse',
  'tiger',
  'eagle',
  'shark',
  'goat',
  'hare',
  'wolf',
];
const ADJECTIVES = ['big', 'striped', 'quiet', 'swift', 'white'];
export const DOCUMENTS: readonly string[] = NOUNS.flatMap((noun) =>
  ADJECTIVES.map((word) => `${word} ${noun}`),
);
export const QUERIES: readonly string[] = [
  'a striped animal',
  'owl at night',
  'swift and white',
  'wolf or dog',
  'sea',
];

export const target = (plan: BuildPlan, role: TargetRole, weightBps = 0, mirrorBps = 0): RouteTarget => ({
  version: plan.version,
  build: buildOf(plan.name),
  fingerprint: fingerprintOf(plan.model),
  modelRef: `${plan.model}@1`,
  role,
  weightBps,
  tier: 'dram',
  mirrorBps,
  bundleUri: `memory:${plan.name}`,
});

const READY: EncoderState = { kind: 'ready', provider: 'cpu', fallbackReason: null, pid: process.pid };

/** What a test can do to the engines while they run. */
export interface Conditions {
  /** Runs in each encode and search, before the work; may throw. */
  onEncode: (model: string, request: EncodeRequest) => Promise<void>;
  onSearch: (spec: TargetSpec, query: IndexQuery) => Promise<void>;
  /** Runs in each opening; may throw. */
  onOpen: (spec: TargetSpec) => Promise<void>;
  /** The clock of deadlines: that of the router which uses them. */
  nowMs: () => number;
}

export interface Engines {
  readonly factories: TargetFactories;
  readonly conditions: Conditions;
  readonly counts: { opened: number; closed: number; encodersOpened: number; encodersClosed: number };
  /** Things the router must never do: use what it closed, close twice. */
  readonly faults: string[];
  readonly openNames: () => string[];
}

/** `encoderModel` lets a test break the pairing: the encoder opened for a model then computes with another's matrix. */
export function createEngines(
  plans: readonly BuildPlan[],
  encoderModel: (model: string) => string = (model) => model,
): Engines {
  const counts = { opened: 0, closed: 0, encodersOpened: 0, encodersClosed: 0 };
  const faults: string[] = [];
  const conditions: Conditions = {
    onEncode: () => turn(),
    onSearch: () => turn(),
    onOpen: () => turn(),
    nowMs: () => performance.now(),
  };
  const open = new Set<string>();
  let serial = 0;
  const models = new Map(plans.map(({ model }) => [fingerprintOf(model) as string, model]));

  class SmallEncoder implements Encoder {
    readonly model: ModelManifest;
    private readonly name: string;
    private readonly id: string;
    state: EncoderState = READY;

    constructor(name: string) {
      this.name = name;
      this.model = modelManifest(name);
      this.id = `encoder ${name} #${++serial}`;
      counts.encodersOpened++;
      open.add(this.id);
    }

    async ready(): Promise<void> {
      await turn();
    }

    async encode(request: EncodeRequest): Promise<EncodedBatch> {
      this.assertOpen();
      await conditions.onEncode(this.name, request);
      if (conditions.nowMs() >= request.deadlineAtMs)
        throw new SwitchyardError('DEADLINE_EXCEEDED', 'too late');
      const values = new Float32Array(request.texts.length * DIMENSIONS);
      if (request.leavesOut !== true && request.texts.includes(WITHOUT_TOKENS)) throw withoutTokens();
      request.texts.forEach((text, at) => {
        if (text === WITHOUT_TOKENS) return;
        values.set(embedText(encoderModel(this.name), text), at * DIMENSIONS);
      });
      return {
        fingerprint: this.model.fingerprint,
        dimensions: DIMENSIONS,
        values,
        tokenCounts: Uint32Array.from(request.texts, (text) => (text === WITHOUT_TOKENS ? 0 : text.length)),
        truncatedCount: 0,
        queueUs: 1,
        encodeUs: 10,
      };
    }

    async close(): Promise<void> {
      this.assertOpen();
      this.state = { kind: 'closed' };
      counts.encodersClosed++;
      open.delete(this.id);
      await turn();
    }

    private assertOpen(): void {
      if (this.state.kind === 'closed') faults.push(`${this.id} was used after it was closed`);
    }
  }

  class SmallIndex implements SearchIndex {
    readonly bundle: Bundle;
    readonly unavailable = null;
    private readonly spec: TargetSpec;
    private readonly plan: BuildPlan;
    private readonly rows: readonly Float32Array[];
    private readonly id: string;
    private isClosed = false;
    private running = 0;

    constructor(spec: TargetSpec, plan: BuildPlan) {
      this.spec = spec;
      this.plan = plan;
      this.bundle = bundleOf(plan);
      this.rows = plan.documents.map((text) => embedText(plan.model, text));
      this.id = `${plan.name} ${spec.isolation} #${++serial}`;
      counts.opened++;
      open.add(this.id);
    }

    async search(query: IndexQuery): Promise<IndexAnswer> {
      this.assertOpen();
      const { fingerprint, values } = query.vector;
      if (fingerprint !== this.bundle.manifest.model.fingerprint)
        throw new SwitchyardError('FINGERPRINT_MISMATCH', 'a vector of another model');
      if (values.length !== DIMENSIONS) throw new SwitchyardError('DIMENSION_MISMATCH', 'another length');
      this.running++;
      try {
        await conditions.onSearch(this.spec, query);
      } finally {
        this.running--;
      }
      if (conditions.nowMs() >= query.deadlineAtMs)
        throw new SwitchyardError('DEADLINE_EXCEEDED', 'too late');
      const hits = this.rows.map((row, at) => {
        const score = row.reduce((sum, value, dimension) => sum + value * (values[dimension] as number), 0);
        return {
          id: this.plan.documents[at] as string,
          chunk: 0,
          score,
          distance: 1 - score,
          document: null,
        };
      });
      hits.sort((a, b) => b.score - a.score);
      return { hits: hits.slice(0, query.topK), queueUs: 1, searchUs: 10 };
    }

    async close(): Promise<void> {
      this.assertOpen();
      if (this.running > 0 && this.spec.isolation === 'shared')
        faults.push(`${this.id} was closed with ${this.running} searches running`);
      this.isClosed = true;
      counts.closed++;
      open.delete(this.id);
      await turn();
    }

    private assertOpen(): void {
      if (this.isClosed) faults.push(`${this.id} was used after it was closed`);
    }
  }

  return {
    conditions,
    counts,
    faults,
    openNames: () => [...open].sort(),
    factories: {
      async openTarget(spec: TargetSpec) {
        await conditions.onOpen(spec);
        const plan = plans.find(({ name }) => buildOf(name) === spec.build);
        if (plan === undefined) throw new SwitchyardError('UNKNOWN_BUILD', 'no such build');
        return new SmallIndex(spec, plan);
      },
      async openEncoder({ fingerprint }: ModelSpec) {
        await turn();
        const model = models.get(fingerprint);
        if (model === undefined) throw new SwitchyardError('UNKNOWN_MODEL', 'no such model');
        return new SmallEncoder(model);
      },
    },
  };
}
