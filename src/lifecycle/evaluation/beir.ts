import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { GoldenBuilder, type ReadGoldenSet } from './golden-builder.js';
import { type InputLine, readLines, refuseInput, wholeGrade } from './input-lines.js';

const QUERIES = 'queries.jsonl';
const QRELS = 'qrels';
const SPLIT_DEFAULT = 'test';

export const isBeirFolder = (folder: string): boolean => existsSync(path.join(folder, QUERIES));

/**
 * A BEIR folder: `queries.jsonl` with `_id` and `text`, `qrels/<split>.tsv` with query, document and grade under one
 * line of names. `corpus.jsonl` is not needed. Without a split: `test`, or the only one there is.
 * Errors: INVALID_INPUT_FILE naming file and line.
 */
export async function readBeir(folder: string, split: string | null): Promise<ReadGoldenSet> {
  const qrels = path.join(folder, QRELS, `${chooseSplit(folder, split)}.tsv`);
  const golden = new GoldenBuilder();
  for (const line of await readLines(path.join(folder, QUERIES))) {
    const { id, text } = jsonQuery(line);
    golden.addQuery(id, text, line.where);
  }
  for (const [at, { text, where }] of (await readLines(qrels)).entries()) {
    const [queryId = '', documentId = '', grade, ...rest] = text.split('\t').map((part) => part.trim());
    if (grade === undefined || rest.length > 0)
      refuseInput(where, 'must have three columns with tabs between: query, document, grade');
    if (at === 0 && !/^-?\d+$/.test(grade ?? '')) continue; // names of the columns
    golden.addJudgement(queryId, documentId, wholeGrade(grade, where), where);
  }
  return golden.finish(path.basename(path.resolve(folder)));
}

/** `_id` (BEIR) or `id`, and `text`; other fields are the collection's own. */
export function jsonQuery({ text: line, where }: InputLine): { readonly id: string; readonly text: string } {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch {
    return refuseInput(where, 'is not valid JSON');
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record))
    return refuseInput(where, 'must be a JSON object with _id and text');
  const { _id, id = _id, text } = record as Record<string, unknown>;
  if (typeof id !== 'string') return refuseInput(where, '_id must be a string');
  if (typeof text !== 'string') return refuseInput(where, 'text must be a string');
  return { id, text };
}

function chooseSplit(folder: string, wanted: string | null): string {
  const place = path.join(folder, QRELS);
  const splits = existsSync(place)
    ? readdirSync(place)
        .filter((name) => name.endsWith('.tsv'))
        .map((name) => name.slice(0, -4))
        .sort()
    : [];
  const [only] = splits;
  const split = wanted ?? (splits.length === 1 && only !== undefined ? only : SPLIT_DEFAULT);
  if (splits.includes(split)) return split;
  return refuseInput(
    path.join(path.basename(folder), QRELS),
    splits.length === 0 ? 'has no <split>.tsv' : `has no ${split}.tsv; there are ${splits.join(', ')}`,
  );
}
