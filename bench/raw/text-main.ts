import { readFileSync } from 'node:fs';
import { Tokenizer } from '@huggingface/tokenizers';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Index, MetricKind, ScalarKind } from 'usearch';
import { PADDING_SHARE_MAX } from '../../src/encoder/batching.js';
import { Latencies } from '../load/latencies.js';
import type { FromText, TextResult, TextRun, TextSetup, ToText } from './text-protocol.js';

/**
 * Entry of the process that does a text query with the libraries alone, in sequence: tokenise, run the graph, search. No
 * process border, no protocol, no queue, no check.
 */
const tell = (message: FromText): void => {
  process.send?.(message);
};

interface LibraryTokenizer {
  encode(text: string): { readonly ids: readonly number[] };
}

interface Libraries {
  readonly setup: TextSetup;
  readonly tokenizer: LibraryTokenizer;
  readonly session: InferenceSession;
  readonly index: Index;
  readonly truth: readonly ReadonlySet<bigint>[];
}

const OUTPUT = 'sentence_embedding';
let libraries: Libraries | null = null;

process.on('message', (message: ToText) => {
  void obey(message).catch((error: unknown) =>
    tell({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));

async function obey(message: ToText): Promise<void> {
  if (message.kind === 'setup') {
    libraries = await open(message.setup);
    tell({ kind: 'ready' });
  } else if (libraries !== null) tell({ kind: 'result', result: await run(libraries, message.run) });
}

async function open(setup: TextSetup): Promise<Libraries> {
  const tokenizer: LibraryTokenizer = new Tokenizer(
    JSON.parse(readFileSync(setup.tokenizerFile, 'utf8')),
    {},
  );
  process.env.ORT_DISABLE_TELEMETRY = '1';
  const session = await InferenceSession.create(setup.modelFile, {
    executionProviders: ['cpu'],
    intraOpNumThreads: setup.threads,
    interOpNumThreads: 1,
  });
  const index = new Index({
    dimensions: setup.dimensions,
    metric: MetricKind.Cos,
    quantization: ScalarKind.BF16,
    connectivity: setup.connectivity,
    expansion_add: setup.expansionAdd,
    expansion_search: setup.expansionSearch,
    multi: false,
  });
  index.view(setup.indexFile);
  return {
    setup,
    tokenizer,
    session,
    index,
    truth: setup.truth.map((rows) => new Set(Array.from(rows, BigInt))),
  };
}

async function run(all: Libraries, plan: TextRun): Promise<TextResult> {
  const { texts } = all.setup;
  const latencies = new Latencies();
  const startMs = performance.now();
  let done = 0;
  let found = 0;
  let expected = 0;
  while (performance.now() - startMs < plan.seconds * 1000) {
    const groupStartMs = performance.now();
    const group = Array.from({ length: plan.together }, (_, at) => (plan.from + done + at) % texts.length);
    for (const [number, keys] of await search(all, group, plan.batchTokensMax)) {
      const wanted = all.truth[number] as ReadonlySet<bigint>;
      for (const key of keys) if (wanted.has(key)) found++;
      expected += wanted.size;
    }
    done += group.length;
    latencies.add((performance.now() - groupStartMs) * 1000);
  }
  const seconds = (performance.now() - startMs) / 1000;
  return { texts: done, perSecond: done / seconds, recall: found / expected, latencyUs: latencies.summary() };
}

type Found = readonly (readonly [number, BigUint64Array])[];

async function search(all: Libraries, numbers: readonly number[], batchTokensMax: number): Promise<Found> {
  const { setup, tokenizer } = all;
  const tokenised = numbers
    .map((number) => {
      const { ids } = tokenizer.encode(setup.texts[number] as string);
      // Cut as the model wants it, with the closing token kept.
      const cut =
        ids.length <= setup.textTokensMax
          ? ids
          : [...ids.slice(0, setup.textTokensMax - 1), ids.at(-1) as number];
      return { number, ids: cut };
    })
    .sort((a, b) => a.ids.length - b.ids.length);
  const found: (readonly [number, BigUint64Array])[] = [];
  let batch: typeof tokenised = [];
  for (const text of tokenised) {
    const padded = (batch.length + 1) * text.ids.length;
    const tokens = batch.reduce((sum, { ids }) => sum + ids.length, text.ids.length);
    const isPadding = padded - tokens > padded * PADDING_SHARE_MAX;
    if (batch.length > 0 && (padded > batchTokensMax || isPadding)) {
      found.push(...(await searchBatch(all, batch)));
      batch = [];
    }
    batch.push(text);
  }
  found.push(...(await searchBatch(all, batch)));
  return found;
}

async function searchBatch(
  { setup, session, index }: Libraries,
  batch: readonly { readonly number: number; readonly ids: readonly number[] }[],
): Promise<Found> {
  const length = (batch.at(-1) as { ids: readonly number[] }).ids.length;
  const ids = new BigInt64Array(batch.length * length);
  const mask = new BigInt64Array(batch.length * length);
  for (const [row, text] of batch.entries())
    for (let at = 0; at < text.ids.length; at++) {
      ids[row * length + at] = BigInt(text.ids[at] as number);
      mask[row * length + at] = 1n;
    }
  const dims = [batch.length, length];
  const outputs = await session.run(
    {
      input_ids: new Tensor('int64', ids, dims),
      attention_mask: new Tensor('int64', mask, dims),
      token_type_ids: new Tensor('int64', new BigInt64Array(ids.length), dims),
    },
    [OUTPUT],
  );
  const values = (outputs[OUTPUT] as Tensor).data as Float32Array;
  return batch.map(({ number }, row) => {
    const vector = values.slice(row * setup.dimensions, (row + 1) * setup.dimensions);
    return [number, index.search(vector, setup.topK, 1).keys as BigUint64Array] as const;
  });
}
