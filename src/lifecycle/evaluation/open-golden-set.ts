import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { isBeirFolder, readBeir } from './beir.js';
import type { ReadGoldenSet } from './golden-builder.js';
import { readCranfield, readTrec } from './trec.js';

export interface GoldenPlace {
  /** A folder, or a file of TREC topics. */
  readonly place: string;
  /** Qrels of TREC topics, or of a folder with several; null: found beside them. */
  readonly qrels: string | null;
  /** Of BEIR; null: `test`, or the only one. */
  readonly split: string | null;
}

/** Whether `--golden` names files rather than a golden set of the registry. */
export const isGoldenPlace = (text: string): boolean =>
  text.includes('/') || text.includes(path.sep) || existsSync(text);

/**
 * Reads a golden set by what lies there: a BEIR folder, the Cranfield collection, or TREC topics with their qrels.
 * Errors: INVALID_INPUT_FILE.
 */
export async function readGoldenSet({ place, qrels, split }: GoldenPlace): Promise<ReadGoldenSet> {
  if (!existsSync(place)) throw unknownForm(place, 'there is no such file or folder');
  if (!statSync(place).isDirectory()) {
    const found = qrels ?? findQrels(path.dirname(place));
    if (found === null)
      throw unknownForm(place, 'no qrels lie beside these topics: name them with --qrels FILE');
    return readTrec(place, found);
  }
  if (isBeirFolder(place)) return readBeir(place, split);
  const cranfield = [path.join(place, 'cran.qry'), path.join(place, 'cranqrel')] as const;
  if (cranfield.every((file) => existsSync(file))) return readCranfield(...cranfield);
  const topics = findOne(place, /^(topics|queries)(\..*)?$/i);
  const found = qrels ?? findQrels(place);
  if (topics !== null && found !== null) return readTrec(topics, found);
  throw unknownForm(
    place,
    'expected queries.jsonl and qrels/<split>.tsv (BEIR), topics.tsv or topics.jsonl and qrels (TREC), or cran.qry and cranqrel (Cranfield)',
  );
}

const findQrels = (folder: string): string | null => findOne(folder, /(^|[._-])qrels?([._-]|$)/i);

function findOne(folder: string, pattern: RegExp): string | null {
  const found = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map(({ name }) => path.join(folder, name))
    .sort();
  if (found.length > 1)
    throw unknownForm(
      folder,
      `several files may be meant: ${found.map((file) => path.basename(file)).join(', ')}`,
    );
  return found[0] ?? null;
}

const unknownForm = (place: string, why: string): SwitchyardError =>
  new SwitchyardError('INVALID_INPUT_FILE', `${place}: ${why}`);
