import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import xxhash from 'xxhash-wasm';
import { encodeFrame, readFrame } from '../src/cache/frame.js';
import { CacheKeys } from '../src/cache/keys.js';
import { sumOfSquares } from '../src/index/distances.js';
import { SeededRandom } from '../src/index/seeded-random.js';
import { VectorSlab } from '../src/index/vector-slab.js';
import { EncodedHits } from '../src/router/encoded-hits.js';
import { createQueryIds } from '../src/router/query-id.js';
import type { Digest, Fingerprint } from '../src/vocabulary.js';
import { type Bench, inputHash, median } from './report.js';
import { tracingPieces } from './tracing-costs.js';

const SIZES = { smoke: { rounds: 3, calls: 500 }, full: { rounds: 21, calls: 20_000 } } as const;
const DIMENSIONS = 384;
const VECTORS = 256;
const FINGERPRINT = `mf1_${'a'.repeat(32)}` as Fingerprint;
/** About what a question is, padded key and all, and what a remembered answer is. */
const QUESTION_BYTES = 250;
const FRAME_BYTES = 560;

type Call = (at: number) => unknown;

/** Pieces of the path of a request beside what was there before or was tried in their place. `ratio`: measuring a vector as it was ÷ as it is. */
export const costs: Bench = {
  name: 'costs',
  about: 'nanoseconds of CPU of pieces of the hot path, beside what was tried in their place',
  run: async ({ size, seed }) => {
    const { rounds, calls } = SIZES[size];
    const { h32Raw, h64Raw } = await xxhash();
    const random = new SeededRandom(seed);
    const vectors = Array.from({ length: VECTORS }, () =>
      Float32Array.from({ length: DIMENSIONS }, () => random.normal()),
    );
    const vectorAt = (at: number): Float32Array => vectors[at % VECTORS] as Float32Array;
    const keys = new CacheKeys(Buffer.from('the secret of this bench'));
    const question = {
      build: 'b'.repeat(64) as Digest,
      fingerprint: FINGERPRINT,
      expansion: 128,
      topK: 10,
      withDocument: false,
      query: 'how do I restore an archived corpus version of the docs',
    };
    const key = keys.result(question);
    const label = { kind: 'result', fingerprint: FINGERPRINT, key: keys.shared(key) } as const;
    const { payload } = EncodedHits.of(
      Array.from({ length: 10 }, (_, at) => ({
        id: `document-${1700 + at}`,
        chunk: 0,
        score: 0.9 - at / 100,
        distance: 0.1 + at / 100,
        document: null,
      })),
      300,
    );
    const frame = encodeFrame(label, payload, Date.now());
    const slab = new VectorSlab();
    const asked = Buffer.alloc(QUESTION_BYTES, 7);
    const framed = Buffer.alloc(FRAME_BYTES, 3);
    const tracing = await tracingPieces();
    const measured: readonly (readonly [piece: string, call: Call])[] = [
      ['measure a vector of 384', (at) => sumOfSquares(vectorAt(at), 0, DIMENSIONS)],
      ['before: one sum, and the largest magnitude by a branch', (at) => measureByBranches(vectorAt(at))],
      ['private copy of a query vector, in a slab', (at) => slab.copy(vectorAt(at))],
      ['tried: a buffer for each', (at) => new Float32Array(vectorAt(at))],
      ['query id', createQueryIds()],
      ['key of a remembered answer', () => keys.result(question)],
      ['its form for Redis, the outer half of the HMAC', () => keys.shared(key)],
      ['SHA-256 of a question', () => hash('sha256', asked, 'base64url')],
      ['tried: BLAKE2b-512', () => hash('blake2b512', asked, 'base64url')],
      ['tried: SHA-512/256', () => hash('sha512-256', asked, 'base64url')],
      ['check a frame of Redis', () => readFrame(frame, label)],
      ['xxHash64 of a frame', () => h64Raw(framed)],
      ['tried: xxHash32', () => h32Raw(framed)],
      ['tried: CRC-32', () => crc32(framed)],
      ['private copy of an answer', () => copyInto(Buffer.allocUnsafeSlow(payload.length), payload)],
      ['tried: in a shared slab', () => copyInto(Buffer.allocUnsafe(payload.length), payload)],
      ['read remembered hits', () => EncodedHits.read(payload)],
      ...tracing.pieces,
    ];
    const results = measured.map(([piece, call]) => ({
      piece,
      cpu_ns: Math.round(nanosecondsOf(call, rounds, calls)),
    }));
    await tracing.close();
    return {
      input: inputHash(...vectors),
      ratio: (results[1]?.cpu_ns ?? 0) / Math.max(1, results[0]?.cpu_ns ?? 0),
      results,
    };
  },
};

let kept: unknown;

/** CPU time, garbage collection included: the least busy quarter of the rounds. */
function nanosecondsOf(call: Call, rounds: number, calls: number): number {
  const timed = (): number => {
    const before = process.cpuUsage();
    for (let at = 0; at < calls; at++) kept = call(at);
    const { user, system } = process.cpuUsage(before);
    return ((user + system) * 1000) / calls;
  };
  timed();
  const times = Array.from({ length: rounds }, timed).sort((a, b) => a - b);
  if (kept === undefined) throw new Error('a call gave nothing');
  return median(times.slice(0, Math.ceil(rounds / 4)));
}

function copyInto(target: Buffer, source: Uint8Array): Buffer {
  target.set(source);
  return target;
}

/** How vectors were measured before: signs and magnitudes are guessed wrong every other time. */
function measureByBranches(values: Float32Array): number {
  let squares = 0;
  let magnitude = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    squares += value * value;
    const absolute = value < 0 ? -value : value;
    if (absolute > magnitude) magnitude = absolute;
  }
  return Math.sqrt(squares) + magnitude;
}
