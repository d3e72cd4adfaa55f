import type { Bundle } from '../src/index/manifest.js';
import { checkQuery } from '../src/index/query-check.js';
import type { IndexQuery } from '../src/index/search-index.js';
import { SeededRandom } from '../src/index/seeded-random.js';
import { compilePickTable, type PickTable, pickAtRandom, pickByKey } from '../src/router/pick.js';
import { type Fingerprint, WEIGHT_TOTAL_BPS } from '../src/vocabulary.js';
import { median } from './report.js';

const KEYS = 4096;
const SALT = '0123456789abcdef0123456789abcdef';

export interface Cost {
  readonly measured: string;
  readonly ns: number;
}

export interface CostPlan {
  readonly rounds: number;
  /** Calls timed together. */
  readonly calls: number;
  readonly seed: number;
}

/** Nanoseconds of CPU time of one call, garbage collection included, medians over rounds, the loop around it included. */
export function measureCosts(
  { rounds, calls, seed }: CostPlan,
  bundle: Bundle,
  vectors: readonly Float32Array[],
): readonly Cost[] {
  const random = new SeededRandom(seed);
  const keys = Array.from({ length: KEYS }, () => `user-${random.below(1e9)}`);
  const { manifest } = bundle;
  const { fingerprint } = manifest.model;
  const queries = vectors.map(
    (values): IndexQuery => ({
      vector: { fingerprint: copyOf(fingerprint), values },
      topK: 10,
      lane: 'live',
      deadlineAtMs: Number.POSITIVE_INFINITY,
      withDocument: false,
    }),
  );
  const queryOf = (at: number): IndexQuery => queries[at % queries.length] as IndexQuery;
  const picks = [2, 50].flatMap((count): Measured[] => {
    const table = evenTable(count);
    return [
      {
        name: `pick by key, ${count} targets`,
        call: (at) => pickByKey(table, SALT, keys[at % KEYS] as string) ?? 0,
      },
      { name: `pick at random, ${count} targets`, call: () => pickAtRandom(table, () => random.next()) ?? 0 },
    ];
  });
  const measured: readonly Measured[] = [
    ...picks,
    {
      name: `compatibility check, ${manifest.full_dimensions} dims`,
      call: (at) => checkQuery(queryOf(at), manifest).length,
    },
    {
      // The comparison that checkQuery begins with, on equal texts that are two strings, as on a real query.
      name: 'its fingerprint comparison alone',
      call: (at) => (queryOf(at).vector.fingerprint !== manifest.model.fingerprint ? 1 : 0),
    },
  ];
  return measured.map(({ name, call }) => ({ measured: name, ns: nanosecondsOf(call, rounds, calls) }));
}

interface Measured {
  readonly name: string;
  /** Gives a number, so that the call cannot be optimised away. */
  readonly call: (at: number) => number;
}

function nanosecondsOf(call: (at: number) => number, rounds: number, calls: number): number {
  let sum = 0;
  const timed = (): number => {
    const before = process.cpuUsage();
    for (let at = 0; at < calls; at++) sum += call(at);
    const { user, system } = process.cpuUsage(before);
    return ((user + system) * 1000) / calls;
  };
  timed();
  const ns = median(Array.from({ length: rounds }, timed));
  if (!Number.isFinite(sum)) throw new Error('a call gave no number');
  return ns;
}

function evenTable(count: number): PickTable<number> {
  return compilePickTable(
    Array.from({ length: count }, (_, item) => ({
      item,
      identity: `${item}`.padStart(64, '0'),
      weight: WEIGHT_TOTAL_BPS / count,
    })),
  );
}

/** An equal string at another address: comparing a string with itself costs nothing. */
const copyOf = (fingerprint: Fingerprint): Fingerprint =>
  Buffer.from(fingerprint).toString('latin1') as Fingerprint;
