import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { exactSearch, Index, MetricKind, ScalarKind } from 'usearch';
import { importMiniLmPackage } from '../src/encoder/import/minilm.js';
import { ModelSession } from '../src/encoder/session.js';
import { compileTemplate } from '../src/lifecycle/document-text.js';
import { toSourceDocument } from '../src/lifecycle/source/document.js';
import { packageRoot } from '../src/package-root.js';
import { readSynsets, WORDNET_TEMPLATE, writeWordnetJsonl } from './data/wordnet.js';
import { type Bench, inputHash } from './report.js';

const K = 10;
const LEXICOGRAPHER_FILES = ['noun.animal', 'noun.food'] as const;
const EXPANSIONS = [64, 128, 256, 512];
const PERTURBATION = 0.02;

/** Recall@10 of real texts as queries, and of perturbed rows, by search expansion: why the default is what it is. */
export const expansion: Bench = {
  name: 'expansion',
  about: 'recall@10 by search expansion, for texts and for perturbed rows',
  run: async ({ size, seed }) => {
    const folder = path.join(packageRoot(), 'var', 'bench');
    await mkdir(folder, { recursive: true });
    const source = path.join(folder, 'wordnet.jsonl');
    await writeWordnetJsonl(source, LEXICOGRAPHER_FILES);
    const lines = (await readFile(source, 'utf8')).trimEnd().split('\n');
    const documents = lines
      .slice(0, size === 'smoke' ? 60 : lines.length)
      .map((line) => toSourceDocument(JSON.parse(line), 'wordnet'));
    const texts = (await readSynsets(LEXICOGRAPHER_FILES))
      .flatMap(({ examples }) => examples)
      .filter((example) => example.length >= 15);
    const queries = texts.slice(0, size === 'smoke' ? 5 : 300);

    const model = await importMiniLmPackage({ modelsFolder: path.join(folder, 'models'), precision: 'fp16' });
    const session = await ModelSession.open(model, { provider: 'cpu', threads: 2 });
    const render = compileTemplate(WORDNET_TEMPLATE);
    const { dimensions } = model.manifest;
    const rows = await encodeAll(session, documents.map(render), 'document', dimensions);
    const asked = await encodeAll(session, queries, 'query', dimensions);
    await session.release();
    const perturbed = rows
      .slice(0, asked.length)
      .map((value, at) => value + PERTURBATION * Math.sin(at * 12.9898 + seed));

    const index = new Index({
      dimensions,
      metric: MetricKind.Cos,
      quantization: ScalarKind.BF16,
      connectivity: 16,
      expansion_add: 128,
      expansion_search: 64,
      multi: false,
    });
    index.add(
      BigUint64Array.from({ length: documents.length }, (_, row) => BigInt(row)),
      rows,
      1,
    );
    const file = path.join(folder, 'expansion.usearch');
    index.save(file);
    const recall = (values: Float32Array, expansionSearch: number): number => {
      const view = new Index({
        dimensions,
        metric: MetricKind.Cos,
        quantization: ScalarKind.BF16,
        connectivity: 16,
        expansion_add: 128,
        expansion_search: expansionSearch,
        multi: false,
      });
      view.view(file);
      const exact = exactSearch(rows, values, dimensions, K, MetricKind.Cos);
      let found = 0;
      const count = values.length / dimensions;
      for (let query = 0; query < count; query++) {
        const vector = values.slice(query * dimensions, (query + 1) * dimensions);
        const keys = new Set(view.search(vector, K, 1).keys);
        for (const key of exact.keys.subarray(query * K, (query + 1) * K)) if (keys.has(key)) found++;
      }
      return found / (count * K);
    };
    return {
      input: inputHash(lines.join('\n'), queries.join('\n')),
      results: EXPANSIONS.map((value) => ({
        expansion: value,
        texts: recall(asked, value),
        perturbed_rows: recall(perturbed, value),
      })),
    };
  },
};

async function encodeAll(
  session: ModelSession,
  texts: readonly string[],
  role: 'query' | 'document',
  dimensions: number,
): Promise<Float32Array> {
  const values = new Float32Array(texts.length * dimensions);
  for (let start = 0; start < texts.length; start += 64) {
    const part = await session.encode(texts.slice(start, start + 64), role);
    values.set(part.values, start * dimensions);
  }
  return values;
}
