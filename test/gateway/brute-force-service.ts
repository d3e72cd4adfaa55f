import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { SwitchyardError, toSwitchyardError } from '../../src/errors.js';
import type {
  EmbedCall,
  EmbedOutcome,
  QueryHealth,
  QueryService,
  SearchCall,
  SearchOutcome,
} from '../../src/router/query.js';
import type { Digest, Fingerprint, Metric, Priority, Revision } from '../../src/vocabulary.js';

export const DIMENSIONS = 16;
export const CORPUS = 'animals';
export const VERSION = 'v1';
const TEXTS = [
  'tiger: a big cat with stripes',
  'lion: a big cat with a mane',
  'house cat: a small cat kept as a pet',
  'zebra: a horse with stripes',
  'horse: a large animal that people ride',
  'whale: the largest animal of the sea',
  'shark: a fish with many teeth',
  'salmon: a fish that swims up rivers',
  'eagle: a bird of prey with sharp eyes',
  'penguin: a bird that swims and does not fly',
  'sparrow: a small brown bird of towns',
  'wolf: a wild dog that hunts in packs',
  'dog: a tame wolf kept as a pet',
  'bee: an insect that makes honey',
  'ant: an insect that lives in colonies',
  'octopus: a sea animal with eight arms',
  'frog: an amphibian that jumps',
  'snake: a reptile without legs',
  'turtle: a reptile with a shell',
  'bat: a mammal that flies at night',
  'mouse: a small rodent with a long tail',
  'elephant: the largest animal on land, with a trunk',
  'giraffe: the tallest animal, with a long neck',
  'kangaroo: a hopping animal with a pouch',
] as const;

interface TestModel {
  readonly ref: string;
  readonly fingerprint: Fingerprint;
  readonly salt: string;
}
const SERVING: TestModel = { ref: 'words@1', fingerprint: `mf1_${'a'.repeat(32)}` as Fingerprint, salt: 'a' };
/** Known, of the same dimensions, and no target of the route is built by it. */
const OTHER: TestModel = { ref: 'words@2', fingerprint: `mf1_${'b'.repeat(32)}` as Fingerprint, salt: 'b' };

/** Words hashed into signed buckets, l2-normalised: crude, deterministic, and texts that share words are near. */
function embed(model: TestModel, text: string): Float32Array {
  const values = new Float32Array(DIMENSIONS);
  for (const word of text.toLowerCase().match(/\p{L}+/gu) ?? [text]) {
    const hash = createHash('sha256').update(model.salt).update(word).digest();
    for (let i = 0; i < DIMENSIONS; i++) values[i] = (values[i] as number) + ((hash[i] as number) - 127.5);
  }
  const norm = Math.hypot(...values);
  return values.map((value) => value / norm);
}

/**
 * A QueryService over exact search of a few vectors in memory: one corpus, one active version, cosine, with the error
 * behaviour that the contract states. `delayMs` makes it slow, and `ready` takes it out of service.
 */
export class BruteForceService implements QueryService {
  readonly #rows = TEXTS.map((text) => ({ text, vector: embed(SERVING, text) }));
  readonly #metric: Metric = 'cosine';
  #served = 0;
  ready = true;
  delayMs = 0;
  /** Searches and embeddings end after it. */
  hold: Promise<void> | null = null;
  /** Calls that reached it, and the last deadline it was given. */
  callCount = 0;
  lastDeadlineAtMs = 0;
  lastPriority: Priority | null = null;
  failure: Error | null = null;

  async search(call: SearchCall): Promise<SearchOutcome> {
    this.callCount++;
    this.lastDeadlineAtMs = call.deadlineAtMs;
    this.lastPriority = call.priority;
    const startedAtMs = performance.now();
    if (this.failure !== null) throw this.failure;
    if (this.delayMs > 0) await sleep(this.delayMs);
    if (this.hold !== null) await this.hold;
    if (performance.now() > call.deadlineAtMs)
      throw new SwitchyardError('DEADLINE_EXCEEDED', 'the deadline passed before the search');
    if (call.corpus !== CORPUS)
      throw new SwitchyardError('UNKNOWN_CORPUS', `there is no corpus ${call.corpus}`, {
        details: { corpus: call.corpus },
      });
    if (call.corpusVersion !== null && call.corpusVersion !== VERSION)
      throw new SwitchyardError('UNKNOWN_CORPUS_VERSION', `${CORPUS} has no version ${call.corpusVersion}`);
    if (call.model === null && call.query.kind === 'vector')
      throw new SwitchyardError('MODEL_REQUIRED', 'a vector must name its model', {
        details: { models: SERVING.ref },
      });
    if (call.model !== null && this.#model(call.model) !== SERVING)
      throw new SwitchyardError('MODEL_MISMATCH', `no target of ${CORPUS} is built by that model`, {
        details: { models: SERVING.ref },
      });
    const vector =
      call.query.kind === 'text' ? embed(SERVING, call.query.text) : this.#check(call.query.values);
    const hits = this.#rows
      .map((row, at) => ({ at, text: row.text, score: cosine(row.vector, vector) }))
      .sort((a, b) => b.score - a.score)
      .slice(0, call.topK)
      .map(({ at, text, score }) => ({
        id: text.split(':', 1)[0] as string,
        chunk: 0,
        score,
        distance: 1 - score,
        document: call.withDocument
          ? { title: text.split(':')[0] as string, text, attributes: { row: at } }
          : null,
      }));
    return {
      queryId: `q-${++this.#served}`,
      hits,
      servedBy: {
        corpusVersion: VERSION,
        build: 'd'.repeat(64) as Digest,
        model: SERVING.ref,
        fingerprint: SERVING.fingerprint,
        routeRevision: 7 as Revision,
        tier: 'dram',
        resultCache: 'MISS',
      },
      degraded: [],
      timings: {
        queueUs: 1.5,
        encodeUs: 20.25,
        searchUs: 30,
        totalUs: (performance.now() - startedAtMs) * 1000,
      },
    };
  }

  batchSearch(calls: readonly SearchCall[]): Promise<readonly (SearchOutcome | Error)[]> {
    return Promise.all(calls.map((call) => this.search(call).catch(toSwitchyardError)));
  }

  async embed(call: EmbedCall): Promise<EmbedOutcome> {
    this.callCount++;
    this.lastPriority = call.priority;
    const model = this.#model(call.model);
    const tokenCount = call.text.split(/\s+/).length;
    return {
      model: model.ref,
      fingerprint: model.fingerprint,
      values: embed(model, call.text),
      tokenCount,
      truncated: false,
      queueUs: 0,
    };
  }

  health(): QueryHealth {
    const why = this.ready ? null : 'no target is loaded';
    return { ready: this.ready, corpora: [{ corpus: CORPUS, serving: this.ready, why }], degraded: [] };
  }

  #model(name: string): TestModel {
    const model = [SERVING, OTHER].find((known) => known.ref === name || known.fingerprint === name);
    if (model === undefined)
      throw new SwitchyardError('UNKNOWN_MODEL', 'there is no such model', { details: { model: name } });
    return model;
  }

  #check(values: Float32Array): Float32Array {
    if (values.length !== DIMENSIONS)
      throw new SwitchyardError(
        'DIMENSION_MISMATCH',
        `the vector has ${values.length} values, ${SERVING.ref} has ${DIMENSIONS}`,
      );
    if (this.#metric === 'cosine' && values.every((value) => value === 0))
      throw new SwitchyardError('ZERO_VECTOR', 'a zero vector has no direction');
    return values;
  }
}

function cosine(a: Float32Array, b: Float32Array): number {
  let dot = 0;
  let norms = [0, 0] as [number, number];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i] as number, b[i] as number];
    dot += x * y;
    norms = [norms[0] + x * x, norms[1] + y * y];
  }
  return dot / Math.sqrt(norms[0] * norms[1]);
}
