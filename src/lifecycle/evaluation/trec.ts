import path from 'node:path';
import { jsonQuery } from './beir.js';
import { GoldenBuilder, type ReadGoldenSet } from './golden-builder.js';
import { readLines, readText, refuseInput, wholeGrade } from './input-lines.js';

/**
 * TREC: topics as `id<TAB>text` lines or as JSON lines (`.jsonl`, with `id` or `_id`, and `text`), and qrels of four
 * columns: query, iteration, document, grade. Errors: INVALID_INPUT_FILE naming file and line.
 */
export async function readTrec(topicsFile: string, qrelsFile: string): Promise<ReadGoldenSet> {
  const golden = new GoldenBuilder();
  const isJson = /\.(jsonl|ndjson|json)$/i.test(topicsFile);
  for (const line of await readLines(topicsFile)) {
    const { id, text } = isJson ? jsonQuery(line) : tabbedQuery(line.text, line.where);
    golden.addQuery(id, text, line.where);
  }
  for (const { text, where } of await readLines(qrelsFile)) {
    const [queryId = '', , documentId = '', grade, ...rest] = text.trim().split(/\s+/);
    if (grade === undefined || rest.length > 0)
      refuseInput(where, 'must have four columns: query, iteration, document, grade');
    golden.addJudgement(queryId, documentId, wholeGrade(grade, where), where);
  }
  return golden.finish(path.basename(qrelsFile));
}

function tabbedQuery(line: string, where: string): { readonly id: string; readonly text: string } {
  const tab = line.indexOf('\t');
  if (tab < 0) return refuseInput(where, 'must be the id of the query, a tab, and its text');
  return { id: line.slice(0, tab).trim(), text: line.slice(tab + 1).trim() };
}

/** Cranfield's grades say how much a document answers, most first: 1 is a complete answer, 4 the least interest. */
const CRANFIELD_GRADE_MAX = 4;

/**
 * The Cranfield collection: queries in SMART form (`.I`, `.W`), which its judgements count by position and not by `.I`;
 * judgements of three columns, query, document, grade. Grades 1 to 4 are turned round, so that more is better; others
 * (−1 and 5) say that a document was looked at and is of no use. Errors: INVALID_INPUT_FILE naming file and line.
 */
export async function readCranfield(queriesFile: string, qrelsFile: string): Promise<ReadGoldenSet> {
  const golden = new GoldenBuilder();
  const name = path.basename(queriesFile);
  const [before = '', ...records] = (await readText(queriesFile)).split(/^\.I /m);
  if (before.trim() !== '' || records.length === 0)
    refuseInput(`${name}:1`, 'must begin with .I and a number');
  for (const [at, record] of records.entries()) {
    const [, ...bodies] = record.split(/^\.W\s*$/m);
    // Blanks within a line stay: there are tokenizers that see them.
    const text = bodies.join('').trim().replaceAll('\n', ' ');
    golden.addQuery(String(at + 1), text, `${name}, query ${at + 1}`);
  }
  for (const { text, where } of await readLines(qrelsFile)) {
    const [queryId = '', documentId = '', given, ...rest] = text.trim().split(/\s+/);
    if (given === undefined || rest.length > 0)
      refuseInput(where, 'must have three columns: query, document, grade');
    const grade = wholeGrade(given, where);
    const isUseful = grade >= 1 && grade <= CRANFIELD_GRADE_MAX;
    golden.addJudgement(queryId, documentId, isUseful ? CRANFIELD_GRADE_MAX + 1 - grade : 0, where);
  }
  return golden.finish('cranfield');
}
