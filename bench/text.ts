import { availableParallelism } from 'node:os';
import path from 'node:path';
import { MODEL_FILES } from '../src/encoder/model-folder.js';
import { builtBundle } from './data/built-bundle.js';
import { searchCorpus, TOP_K } from './data/search-corpus.js';
import { withoutFailures } from './load/load-generator.js';
import { treeCpuUs } from './load/process-cpu.js';
import { RawText, type TextSide } from './raw/text-search.js';
import { type Bench, inputHash, median } from './report.js';
import { openTextSide } from './rig/text-side.js';

const BATCH_TOKENS_MAX = 1024;

const SIZES = {
  smoke: { rowCount: 800, queryCount: 64, glossStep: 200, rounds: 2, seconds: 0.3, warmUpSeconds: 0.3 },
  full: { rowCount: 50_000, queryCount: 8_192, glossStep: 1, rounds: 12, seconds: 2, warmUpSeconds: 3 },
} as const;
/** Requests in flight, and how many texts the libraries alone are given together. */
const IN_FLIGHT = [1, 16] as const;

/**
 * Held-out glosses as text queries over gRPC, each sent once, beside the runtime and usearch alone in sequence on the same
 * texts, model, index and threads. `ratio`: CPU per text of the libraries ÷ of the gateway with all its processes, at 16
 * in flight, where the libraries do the texts one at a time and, in turn, 16 together in batches of like length, and the
 * cheaper of the two counts. The gateway keeps all cores busy then, so the libraries do as well, in a process for each
 * core; what they need with one core and the others idle is printed beside it.
 */
export const text: Bench = {
  name: 'text',
  about: 'CPU per text query over gRPC beside the ONNX runtime and usearch in sequence',
  run: async ({ size, seed }) => {
    const plan = SIZES[size];
    const cores = availableParallelism();
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
      const { manifest, folder } = bundle;
      const raw = await RawText.start(
        {
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
        cores,
        BATCH_TOKENS_MAX,
      );
      opened.push(() => raw.close());

      /** From the beginning of the texts on, so that each is sent once. */
      let from = 0;
      const gatewaySide = async (inFlight: number, seconds: number): Promise<TextSide> => {
        const before = treeCpuUs(gateway.pid);
        const result = withoutFailures(await load.run({ kind: 'closed', inFlight, seconds, from }));
        const cpuUs = (treeCpuUs(gateway.pid) - before) / result.answered;
        from += result.answered;
        const { p50, p99 } = result.latencyUs;
        const { perSecond, recall } = result;
        return { cpuUs, perSecond, p50Us: p50, p99Us: p99, recall: recall ?? Number.NaN };
      };

      const results: Record<string, number | string>[] = [];
      let ratio = Number.NaN;
      for (const inFlight of IN_FLIGHT) {
        const served: TextSide[] = [];
        const oneCore: TextSide[] = [];
        const allCores: TextSide[] = [];
        const turns = [
          async (seconds: number) => void served.push(await gatewaySide(inFlight, seconds)),
          async (seconds: number) => void oneCore.push(await raw.run(1, inFlight, seconds)),
          async (seconds: number) => void allCores.push(await raw.run(cores, inFlight, seconds)),
        ];
        for (const turn of turns) await turn(plan.warmUpSeconds);
        for (const rounds of [served, oneCore, allCores]) rounds.length = 0;
        for (let round = 0; round < plan.rounds; round++)
          for (let at = 0; at < turns.length; at++) await turns[(round + at) % turns.length]?.(plan.seconds);
        const sides = [
          ['gateway', served],
          ['in sequence on one core', oneCore],
          [`in sequence on ${cores} cores`, allCores],
        ] as const;
        for (const [side, rounds] of sides) {
          const of = (pick: (one: TextSide) => number): number => median(rounds.map(pick));
          results.push({
            side,
            in_flight: inFlight,
            cpu_us_per_text: Math.round(of(({ cpuUs }) => cpuUs)),
            texts_per_s: Math.round(of(({ perSecond }) => perSecond)),
            p50_us: Math.round(of(({ p50Us }) => p50Us)),
            p99_us: Math.round(of(({ p99Us }) => p99Us)),
            'recall@10': Number(of(({ recall }) => recall).toFixed(4)),
          });
        }
        for (const [side, alone] of sides.slice(1)) {
          const of = (pick: (alone: TextSide, gateway: TextSide) => number): number[] =>
            served.map((one, round) => pick(alone[round] as TextSide, one)).sort((a, b) => a - b);
          const cpu = of((a, b) => a.cpuUs / b.cpuUs);
          if (inFlight > 1 && alone === allCores) ratio = median(cpu);
          results.push({
            side: `${side} ÷ gateway, CPU`,
            in_flight: inFlight,
            rounds: plan.rounds,
            ratio: Number(median(cpu).toFixed(3)),
            ratio_least: Number((cpu[0] ?? Number.NaN).toFixed(3)),
            ratio_most: Number((cpu.at(-1) ?? Number.NaN).toFixed(3)),
            throughput_ratio: Number(median(of((a, b) => b.perSecond / a.perSecond)).toFixed(3)),
          });
        }
      }
      return { input: inputHash(bundle.digest, corpus.queryTexts.join('\n')), ratio, results };
    } finally {
      for (const end of opened.splice(0).reverse()) await end();
    }
  },
};
