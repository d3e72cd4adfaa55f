import { setTimeout } from 'node:timers/promises';
import { type MirrorCounts, type MirrorRig, openMirrorRig } from './mirror-rig.js';
import { type Bench, type BenchReport, inputHash, median } from './report.js';

type Row = BenchReport['results'][number];

/** Leaves the cores some room, as serving does. */
const CLIENTS = 4;
const PAUSE_MS = 2;

interface Fault {
  readonly name: string;
  /** A program beside the fixtures of the tests; else the product's own. */
  readonly program?: string;
  /** Sent to the shadow's process when its side begins, and `after` when it ends. */
  readonly signal?: NodeJS.Signals;
  readonly after?: NodeJS.Signals;
}

const FAULTS: readonly Fault[] = [
  { name: 'none' },
  { name: 'hung', signal: 'SIGSTOP', after: 'SIGCONT' },
  { name: '10 x slower', program: 'slow-main.js' },
  { name: 'erring', program: 'erring-main.js' },
  { name: 'huge results', program: 'huge-main.js' },
  { name: 'killed with SIGSEGV', signal: 'SIGSEGV' },
];

const SIZES = {
  smoke: { rowCount: 300, queryCount: 64, pairs: 2, searches: 60 },
  full: { rowCount: 8_000, queryCount: 2_048, pairs: 11, searches: 600 },
} as const;

interface Pair {
  readonly offUs: number;
  readonly onUs: number;
  readonly counts: MirrorCounts;
}

/** The primary's p99 with each faulty shadow ÷ without a shadow. `ratio`: the largest of the medians. */
export const mirrorFaults: Bench = {
  name: 'mirror-faults',
  about: "the primary's p99 with and without a shadow that is hung, slow, erring, huge or crashing",
  run: async ({ size, seed }) => {
    const plan = SIZES[size];
    const rows: Row[] = [];
    let input = '';
    for (const fault of FAULTS) {
      const { program } = fault;
      const rig = await openMirrorRig({
        ...plan,
        seed,
        // A shadow that is down for half a minute would be no load at all.
        restartMsMax: 300,
        ...(program === undefined
          ? {}
          : { program: new URL(`../test/fixtures/index-children/${program}`, import.meta.url) }),
      });
      try {
        input = inputHash(rig.rows, ...rig.queries);
        // Unmeasured: code and pages are warm.
        await p99Us(rig, plan.searches);
        const pairs: Pair[] = [];
        for (let at = 0; at < plan.pairs; at++)
          pairs.push(await pairOf(rig, fault, plan.searches, at % 2 === 1));
        rows.push(rowOf(fault, pairs));
      } finally {
        await rig.close();
      }
    }
    return { input, ratio: Math.max(...rows.map(({ ratio }) => Number(ratio))), results: rows };
  },
};

/** Both sides once; with the shadow first in every other pair. */
async function pairOf(rig: MirrorRig, fault: Fault, searches: number, shadowFirst: boolean): Promise<Pair> {
  const off = async (): Promise<number> => {
    await rig.mirror(null);
    return p99Us(rig, searches);
  };
  let counts: MirrorCounts = { offered: 0, compared: 0, dropped: 0 };
  const on = async (): Promise<number> => {
    while (rig.shadowPid() === null) await setTimeout(5);
    await rig.mirror(10_000);
    rig.counts();
    const pid = rig.shadowPid();
    if (fault.signal !== undefined && pid !== null) process.kill(pid, fault.signal);
    const tookUs = await p99Us(rig, searches);
    if (fault.after !== undefined && pid !== null && rig.shadowPid() === pid) process.kill(pid, fault.after);
    await rig.quiet();
    counts = rig.counts();
    if (counts.offered !== searches) throw new Error(`${counts.offered} of ${searches} reads were mirrored`);
    return tookUs;
  };
  if (!shadowFirst) return { offUs: await off(), onUs: await on(), counts };
  const onUs = await on();
  return { offUs: await off(), onUs, counts };
}

/** A primary that refuses a search ends the bench. */
async function p99Us(rig: MirrorRig, searches: number): Promise<number> {
  const tookMs = new Float64Array(searches);
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < searches) {
      const at = next++;
      const sentAtMs = performance.now();
      await rig.search(at);
      tookMs[at] = performance.now() - sentAtMs;
      await setTimeout(PAUSE_MS);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  tookMs.sort();
  return (tookMs[Math.ceil(searches * 0.99) - 1] ?? Number.NaN) * 1000;
}

function rowOf({ name }: Fault, pairs: readonly Pair[]): Row {
  const ratios = pairs.map(({ onUs, offUs }) => onUs / offUs);
  const offered = pairs.reduce((sum, { counts }) => sum + counts.offered, 0);
  const compared = pairs.reduce((sum, { counts }) => sum + counts.compared, 0);
  return {
    shadow: name,
    pairs: pairs.length,
    p99_us_without: Math.round(median(pairs.map(({ offUs }) => offUs))),
    p99_us_with: Math.round(median(pairs.map(({ onUs }) => onUs))),
    ratio: rounded(median(ratios)),
    ratio_least: rounded(Math.min(...ratios)),
    ratio_most: rounded(Math.max(...ratios)),
    mirrors_compared: rounded(compared / offered),
  };
}

const rounded = (value: number): number => Math.round(value * 1000) / 1000;
