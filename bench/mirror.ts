import { modelRef } from '../src/vocabulary.js';
import { builtBundle, CORPUS, documentId } from './data/built-bundle.js';
import { type SearchCorpus, searchCorpus, TOP_K } from './data/search-corpus.js';
import { LoadGenerator, withoutFailures } from './load/load-generator.js';
import type { LoadResult, LoadRun } from './load/load-protocol.js';
import { type Bench, inputHash, median } from './report.js';
import { type GatewayRig, PATIENT, type RigTarget, smallCaches, startGatewayRig } from './rig/gateway.js';
import { scrape, total } from './rig/scraped.js';
import { SEARCH_METHOD, searchBody } from './rig/search-bodies.js';

const SIZES = {
  smoke: { rowCount: 800, queryCount: 64, glossStep: 200, rounds: 2, seconds: 0.4, warmUpSeconds: 0.3 },
  full: { rowCount: 50_000, queryCount: 2_048, glossStep: 1, rounds: 10, seconds: 2, warmUpSeconds: 8 },
} as const;
const IN_FLIGHT = 96;
const CONNECTIONS = 4;
const MODERATE = 0.3;
const WORKERS = 2;

interface Side {
  readonly gateway: GatewayRig;
  readonly load: LoadGenerator;
}

/** Gateways with and without a shadow that gets every read. `ratio`: throughput at saturation, mirrored ÷ not. */
export const mirror: Bench = {
  name: 'mirror',
  about: 'throughput with 100 % mirrored ÷ with no shadow, at 30 % load and at saturation',
  run: async ({ size, seed, rows }) => {
    const plan = { ...SIZES[size], ...(rows === undefined ? {} : { rowCount: rows }) };
    const corpus = await searchCorpus({ ...plan, seed });
    const { bundle } = await builtBundle(corpus, 'v1');
    const shadow = await builtBundle(corpus, 'v2', 'backwards');
    const primary: RigTarget = { bundle, role: 'active', mirrorBps: 0 };
    const closers: (() => Promise<void>)[] = [];
    try {
      const off = await openSide(corpus, [primary], closers);
      const on = await openSide(
        corpus,
        [primary, { bundle: shadow.bundle, role: 'shadow', mirrorBps: 10_000 }],
        closers,
      );
      const closed = { kind: 'closed', inFlight: IN_FLIGHT, from: 0 } as const;
      for (const { load } of [off, on])
        withoutFailures(await load.run({ ...closed, seconds: plan.warmUpSeconds }));
      const saturated = await inTurn(off, on, plan.rounds, () => ({ ...closed, seconds: plan.seconds }));
      const perSecond = MODERATE * median(saturated.map((round) => round.off.perSecond));
      const moderate = await inTurn(off, on, plan.rounds, (round) => ({
        kind: 'open',
        perSecond,
        seed: seed + round,
        seconds: plan.seconds,
        from: 0,
      }));
      const rowsOf = [row('saturation', saturated, IN_FLIGHT), row('30 % load', moderate, null)];
      return {
        input: inputHash(bundle.digest, shadow.bundle.digest, ...corpus.queries),
        ratio: median(saturated.map((round) => round.on.perSecond / round.off.perSecond)),
        results: rowsOf,
      };
    } finally {
      for (const close of closers.reverse()) await close();
    }
  },
};

async function openSide(
  corpus: SearchCorpus,
  targets: readonly RigTarget[],
  closers: (() => Promise<void>)[],
): Promise<Side> {
  const gateway = await startGatewayRig({
    model: corpus.model,
    targets,
    searchWorkers: WORKERS,
    settings: { ...PATIENT, ...smallCaches(corpus.queries.length) },
  });
  closers.push(() => gateway.close());
  const model = modelRef(corpus.model.manifest);
  const load = await LoadGenerator.start(
    { ...gateway.grpc, method: SEARCH_METHOD, connections: CONNECTIONS },
    {
      bodies: corpus.queries.map((vector) =>
        searchBody({ corpus: CORPUS, query: { vector, model }, topK: TOP_K }),
      ),
      expected: corpus.truth.map((rows) => Array.from(rows, documentId)),
    },
  );
  closers.push(() => load.close());
  return { gateway, load };
}

interface Round {
  readonly off: LoadResult;
  readonly on: LoadResult;
  readonly mirrored: Mirrored;
}

interface Mirrored {
  readonly offered: number;
  readonly compared: number;
  readonly primaryBusy: number;
}

async function inTurn(
  off: Side,
  on: Side,
  rounds: number,
  planOf: (round: number) => LoadRun,
): Promise<readonly Round[]> {
  const done: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    const plan = planOf(round);
    const first = round % 2 === 0 ? withoutFailures(await off.load.run(plan)) : null;
    const before = await mirroredBy(on);
    const mirroredRun = withoutFailures(await on.load.run(plan));
    const after = await mirroredBy(on);
    done.push({
      off: first ?? withoutFailures(await off.load.run(plan)),
      on: mirroredRun,
      mirrored: {
        offered: after.offered - before.offered,
        compared: after.compared - before.compared,
        primaryBusy: after.primaryBusy - before.primaryBusy,
      },
    });
  }
  return done;
}

async function mirroredBy({ gateway }: Side): Promise<Mirrored> {
  const samples = await scrape(gateway.admin);
  const of = (outcome: string): number => total(samples, 'switchyard_mirrors_total', `outcome="${outcome}"`);
  return { offered: of('offered'), compared: of('compared'), primaryBusy: of('primary_busy') };
}

/** `kept`: so many in flight throughout; null for an open loop, which bounds them by nothing. */
function row(load: string, rounds: readonly Round[], kept: number | null) {
  const ratios = rounds.map(({ off, on }) => on.perSecond / off.perSecond);
  const p99s = rounds.map(({ off, on }) => on.latencyUs.p99 / off.latencyUs.p99);
  // Little's law: what comes in a second, times how long each stays.
  const inFlight = (of: (round: Round) => LoadResult): number =>
    kept ??
    rounded(median(rounds.map(of).map(({ perSecond, latencyUs }) => (perSecond * latencyUs.mean) / 1e6)));
  const recall = (of: (round: Round) => LoadResult): number =>
    rounded(median(rounds.map(of).map((result) => result.recall ?? 0)));
  const answered = (of: (round: Round) => LoadResult): number =>
    rounds.reduce((all, round) => all + of(round).perSecond, 0);
  const sum = (of: (mirrored: Mirrored) => number): number =>
    rounds.reduce((all, { mirrored }) => all + of(mirrored), 0);
  const offered = sum((one) => one.offered);
  // Figures of mirroring that did not happen would look very good.
  if (offered === 0) throw new Error(`${load}: no read was offered to the shadow`);
  return {
    load,
    rounds: rounds.length,
    off_in_flight: inFlight(({ off }) => off),
    on_in_flight: inFlight(({ on }) => on),
    off_recall_at_10: recall(({ off }) => off),
    on_recall_at_10: recall(({ on }) => on),
    off_per_s: Math.round(median(rounds.map(({ off }) => off.perSecond))),
    on_per_s: Math.round(median(rounds.map(({ on }) => on.perSecond))),
    ratio: rounded(median(ratios)),
    // All rounds as one: rounds of two seconds differ by what a shared machine gives each.
    ratio_pooled: rounded(answered(({ on }) => on) / answered(({ off }) => off)),
    ratio_least: rounded(Math.min(...ratios)),
    ratio_most: rounded(Math.max(...ratios)),
    p99_ratio: rounded(median(p99s)),
    mirrors_compared: rounded(sum((one) => one.compared) / offered),
    mirrors_shed_primary_busy: rounded(sum((one) => one.primaryBusy) / offered),
  };
}

const rounded = (value: number): number => Math.round(value * 1000) / 1000;
