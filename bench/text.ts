import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { MODEL_FILES } from '../src/encoder/model-folder.js';
import { builtBundle } from './data/built-bundle.js';
import { searchCorpus, TOP_K } from './data/search-corpus.js';
import { withoutFailures } from './load/load-generator.js';
import { treeCpuUs } from './load/process-cpu.js';
import type { FromText, TextRun, ToText } from './raw/text-protocol.js';
import { type Bench, inputHash, median } from './report.js';
import { AskedChild } from './rig/asked-child.js';
import { assertWorked } from './rig/gateway.js';
import { openTextSide } from './rig/text-side.js';

const BATCH_TOKENS_MAX = 1024;
/** Rounds begin so many texts after each other. */
const TEXTS_OF_ROUND = 2_039;

const SIZES = {
  smoke: { rowCount: 800, queryCount: 64, glossStep: 200, rounds: 2, seconds: 0.3, warmUpSeconds: 0.3 },
  full: { rowCount: 50_000, queryCount: 8_192, glossStep: 1, rounds: 12, seconds: 2, warmUpSeconds: 3 },
} as const;
/** Requests in flight, and how many texts the libraries alone are given together. */
const IN_FLIGHT = [1, 16] as const;

interface Side {
  readonly cpuUs: number;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly recall: number;
}

function sideRow(side: string, inFlight: number, rounds: readonly Side[]): Record<string, number | string> {
  const of = (pick: (one: Side) => number): number => median(rounds.map(pick));
  return {
    side,
    in_flight: inFlight,
    cpu_us_per_text: Math.round(of(({ cpuUs }) => cpuUs)),
    texts_per_s: Math.round(of(({ perSecond }) => perSecond)),
    p50_us: Math.round(of(({ p50Us }) => p50Us)),
    p99_us: Math.round(of(({ p99Us }) => p99Us)),
    recall_at_10: Number(of(({ recall }) => recall).toFixed(4)),
  };
}

/**
 * Held-out glosses as text queries over gRPC, in turn, nothing remembered, beside the runtime and usearch alone in sequence on the same
 * texts, model, index and threads. `ratio`: CPU per text of the libraries ÷ of the gateway with all its processes, at 16
 * in flight, where the libraries do the texts one at a time and, in turn, 16 together in batches of like length, and what
 * is cheaper in the median counts.
 */
export const text: Bench = {
  name: 'text',
  about: 'CPU per text query over gRPC beside the ONNX runtime and usearch in sequence',
  run: async ({ size, seed }) => {
    const plan = SIZES[size];
    const { rowCount, queryCount, glossStep } = plan;
    const corpus = await searchCorpus({ rowCount, queryCount, glossStep, seed });
    const { bundle } = await builtBundle(corpus, 'v1');
    const opened: (() => Promise<void>)[] = [];
    try {
      const { gateway, load } = await openTextSide(
        { teardown: (end) => void opened.push(async () => end()) },
        corpus,
        bundle,
      );
      const raw = new AskedChild<ToText, FromText>(
        fileURLToPath(new URL('./raw/text-main.js', import.meta.url)),
      );
      opened.push(() => raw.close());
      const { manifest, folder } = bundle;
      await raw.ask(
        {
          kind: 'setup',
          setup: {
            modelFile: path.join(corpus.model.folder, 'model.onnx'),
            tokenizerFile: path.join(corpus.model.folder, MODEL_FILES.tokenizer),
            textTokensMax: corpus.model.manifest.max_tokens,
            dimensions: corpus.dimensions,
            threads: 1,
            indexFile: path.join(folder, 'index.usearch'),
            connectivity: manifest.connectivity,
            expansionAdd: manifest.expansion_add,
            expansionSearch: manifest.expansion_search,
            topK: TOP_K,
            texts: corpus.queryTexts,
            truth: corpus.truth,
          },
        },
        'ready',
      );

      const gatewaySide = async (inFlight: number, seconds: number, from: number): Promise<Side> => {
        const before = treeCpuUs(gateway.pid);
        const result = withoutFailures(await load.run({ kind: 'closed', inFlight, seconds, from }));
        const cpuUs = (treeCpuUs(gateway.pid) - before) / result.answered;
        const { p50, p99 } = result.latencyUs;
        return {
          cpuUs,
          perSecond: result.perSecond,
          p50Us: p50,
          p99Us: p99,
          recall: result.recall ?? Number.NaN,
        };
      };
      const rawSide = async (together: number, seconds: number, from: number): Promise<Side> => {
        const before = treeCpuUs(raw.pid);
        const run: TextRun = { seconds, from, together, batchTokensMax: BATCH_TOKENS_MAX };
        const { result } = await raw.ask({ kind: 'run', run }, 'result');
        const cpuUs = (treeCpuUs(raw.pid) - before) / result.texts;
        const { p50, p99 } = result.latencyUs;
        return { cpuUs, perSecond: result.perSecond, p50Us: p50, p99Us: p99, recall: result.recall };
      };

      const results: Record<string, number | string>[] = [];
      let ratio = Number.NaN;
      for (const inFlight of IN_FLIGHT) {
        const ways = [...new Set([1, inFlight])];
        await gatewaySide(inFlight, plan.warmUpSeconds, 0);
        for (const together of ways) await rawSide(together, plan.warmUpSeconds / ways.length, 0);
        const gatewayRounds: Side[] = [];
        const rawRounds = ways.map((together) => ({ together, rounds: [] as Side[] }));
        for (let round = 0; round < plan.rounds; round++) {
          // All ways begin each round at the same text: glosses of a kind are as long as each other and stand together.
          const from = round * TEXTS_OF_ROUND;
          const turns = [
            async () => void gatewayRounds.push(await gatewaySide(inFlight, plan.seconds, from)),
            ...rawRounds.map(
              ({ together, rounds }) =>
                async () =>
                  void rounds.push(await rawSide(together, plan.seconds, from)),
            ),
          ];
          for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
        }
        const cpuOf = (rounds: readonly Side[]): number => median(rounds.map(({ cpuUs }) => cpuUs));
        // By their medians: the lesser of two noisy figures of each round would be less than either way costs.
        const cheaper = rawRounds.reduce((best, way) =>
          cpuOf(way.rounds) < cpuOf(best.rounds) ? way : best,
        );
        const ratiosOf = (of: (gateway: Side, raw: Side) => number): number[] =>
          gatewayRounds.map((side, round) => of(side, cheaper.rounds[round] as Side)).sort((a, b) => a - b);
        const cpu = ratiosOf((served, alone) => alone.cpuUs / served.cpuUs);
        const throughput = ratiosOf((served, alone) => served.perSecond / alone.perSecond);
        if (inFlight > 1) ratio = median(cpu);
        results.push(sideRow('gateway', inFlight, gatewayRounds));
        for (const { together, rounds } of rawRounds)
          results.push(sideRow(`runtime and usearch in sequence, ${together} together`, together, rounds));
        results.push({
          side: `in sequence, ${cheaper.together} together ÷ gateway, CPU`,
          in_flight: inFlight,
          rounds: plan.rounds,
          ratio: Number(median(cpu).toFixed(3)),
          ratio_least: Number((cpu[0] ?? Number.NaN).toFixed(3)),
          ratio_most: Number((cpu.at(-1) ?? Number.NaN).toFixed(3)),
          throughput_ratio: Number(median(throughput).toFixed(3)),
        });
      }
      await assertWorked(gateway);
      return { input: inputHash(bundle.digest, corpus.queryTexts.join('\n')), ratio, results };
    } finally {
      for (const end of opened.splice(0).reverse()) await end();
    }
  },
};
