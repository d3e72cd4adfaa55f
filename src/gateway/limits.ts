import type { Limits } from '../config/config.js';
import { SwitchyardError } from '../errors.js';
import { sumOfSquares } from '../index/distances.js';
import type { EmbedCall, SearchCall } from '../router/query.js';
import {
  type InputRole,
  isCorpusName,
  isFingerprint,
  isModelName,
  isVersionName,
  type Priority,
} from '../vocabulary.js';

/** One search as either protocol decoded it: types are right, nothing else is checked. '' means absent. */
export interface SearchInput {
  readonly corpus: string;
  readonly text: string | null;
  readonly vector: Float32Array | null;
  readonly topK: number | null;
  readonly model: string;
  readonly corpusVersion: string;
  readonly affinityKey: string;
  readonly withDocument: boolean;
  readonly bypassCache: boolean;
  readonly priority: Priority;
  /** Whoever asks compares versions, and depends on none: it is not counted as their traffic. */
  readonly isEvaluation?: boolean;
}

export interface EmbedInput {
  readonly model: string;
  readonly text: string;
  readonly role: InputRole;
  readonly priority: Priority;
}

export const TOP_K_DEFAULT = 10;
export const DIMENSIONS_MAX = 16_384;
export const AFFINITY_KEY_BYTES_MAX = 256;
/** Of a request, over either protocol. */
export const HEADER_BYTES_MAX = 16_384;

/** Longest piece of a client's own input that a message repeats. */
const ECHO_CHARS_MAX = 64;

export const invalidArgument = (
  field: string,
  message: string,
  details: Readonly<Record<string, string>> = {},
): SwitchyardError => new SwitchyardError('INVALID_ARGUMENT', message, { details: { field, ...details } });

export const headersTooLarge = (): SwitchyardError =>
  new SwitchyardError('HEADERS_TOO_LARGE', `the headers must be <= ${HEADER_BYTES_MAX} bytes`, {
    details: { max: String(HEADER_BYTES_MAX) },
  });

/** Told without counting on: what is beyond is not looked at. */
export const tooManyItems = (itemsMax: number): SwitchyardError =>
  invalidArgument('requests', `requests has more than ${itemsMax} items: send several batches`, {
    max: String(itemsMax),
  });

export const tooManyDimensions = (): SwitchyardError =>
  invalidArgument('vector', `vector has more than ${DIMENSIONS_MAX} dimensions`, {
    max: String(DIMENSIONS_MAX),
  });

/** A name that a client sent, fit to be repeated to it: bounded, quoted, and whole characters only. */
export function echo(name: string): string {
  const cut = name.length > ECHO_CHARS_MAX ? `${name.slice(0, ECHO_CHARS_MAX)}…` : name;
  return JSON.stringify(wellFormed(cut));
}

/** Every limit and syntax rule of one search. Errors: the request reasons of docs/errors.md. */
export function checkSearch(input: SearchInput, limits: Limits, deadlineAtMs: number): SearchCall {
  checkCorpus(input.corpus);
  const topK = input.topK ?? TOP_K_DEFAULT;
  checkTopK(topK, limits.topKMax);
  if (input.model !== '') checkModel(input.model);
  if (input.corpusVersion !== '' && !isVersionName(input.corpusVersion)) {
    throw invalidArgument(
      'corpus_version',
      `corpus_version ${echo(input.corpusVersion)} is not a version name, e.g. "v2"`,
    );
  }
  checkAffinityKey(input.affinityKey);
  return {
    corpus: input.corpus,
    query: checkQuery(input, limits),
    topK,
    model: input.model === '' ? null : input.model,
    corpusVersion: input.corpusVersion === '' ? null : input.corpusVersion,
    affinityKey: input.affinityKey === '' ? null : input.affinityKey,
    withDocument: input.withDocument,
    bypassCache: input.bypassCache,
    priority: input.priority,
    deadlineAtMs,
  };
}

export function checkEmbed(input: EmbedInput, limits: Limits, deadlineAtMs: number): EmbedCall {
  if (input.model === '')
    throw invalidArgument('model', 'model is missing: name@version or fingerprint of the encoder to use');
  checkModel(input.model);
  checkText(input.text, limits.textBytesMax);
  const { model, text, role, priority } = input;
  return { model, text, role, priority, deadlineAtMs };
}

/** What holds for a batch as a whole; its items are checked one by one. */
export function checkBatch(inputs: readonly SearchInput[], limits: Limits): void {
  if (inputs.length === 0) throw invalidArgument('requests', 'requests is empty: a batch has at least one');
  if (inputs.length > limits.batchItemsMax) throw tooManyItems(limits.batchItemsMax);
  const corpus = inputs[0]?.corpus;
  const stranger = inputs.findIndex((input) => input.corpus !== corpus);
  if (stranger > 0)
    throw invalidArgument(
      'requests',
      `requests[${stranger}] names another corpus than requests[0]: a batch reads one route of one corpus`,
    );
}

function checkCorpus(corpus: string): void {
  if (corpus === '') throw invalidArgument('corpus', 'corpus is missing: name the corpus to search');
  if (!isCorpusName(corpus)) {
    throw invalidArgument(
      'corpus',
      `corpus ${echo(corpus)} is not a corpus name: 1 to 64 of a-z 0-9 _ -, beginning and ending with a letter or digit`,
    );
  }
}

function checkTopK(topK: number, topKMax: number): void {
  if (!Number.isInteger(topK)) throw invalidArgument('top_k', `top_k ${topK} must be a whole number`);
  if (topK < 1) throw invalidArgument('top_k', `top_k ${topK} must be >= 1`, { min: '1' });
  if (topK > topKMax)
    throw invalidArgument('top_k', `top_k ${topK} must be <= ${topKMax}`, { max: String(topKMax) });
}

function checkModel(model: string): void {
  if (isFingerprint(model)) return;
  const at = model.lastIndexOf('@');
  if (at > 0 && isModelName(model.slice(0, at)) && isVersionName(model.slice(at + 1))) return;
  throw invalidArgument(
    'model',
    `model ${echo(model)} must be name@version or a fingerprint (mf1_ and 32 hex digits)`,
  );
}

function checkAffinityKey(key: string): void {
  if (key === '') return;
  checkWellFormed('affinity_key', key);
  const bytes = Buffer.byteLength(key);
  if (bytes > AFFINITY_KEY_BYTES_MAX) {
    throw invalidArgument(
      'affinity_key',
      `affinity_key has ${bytes} bytes, must be <= ${AFFINITY_KEY_BYTES_MAX}`,
      {
        max: String(AFFINITY_KEY_BYTES_MAX),
      },
    );
  }
}

function checkQuery(input: SearchInput, limits: Limits): SearchCall['query'] {
  const { text, vector } = input;
  if (text !== null && vector !== null)
    throw invalidArgument('query', 'both text and vector are given: give one of the two');
  if (text !== null) {
    checkText(text, limits.textBytesMax);
    return { kind: 'text', text };
  }
  if (vector === null) throw new SwitchyardError('EMPTY_QUERY', 'neither text nor vector is given');
  if (vector.length === 0) throw new SwitchyardError('EMPTY_QUERY', 'vector has no values');
  // A vector without a model is refused where the models that would work are known: with the route.
  checkVector(vector);
  return { kind: 'vector', values: vector };
}

function checkText(text: string, textBytesMax: number): void {
  if (!/\S/.test(text)) throw new SwitchyardError('EMPTY_QUERY', 'text is empty or only white space');
  checkWellFormed('text', text);
  const bytes = Buffer.byteLength(text);
  if (bytes > textBytesMax) {
    throw new SwitchyardError('TEXT_TOO_LARGE', `text has ${bytes} bytes, must be <= ${textBytesMax}`, {
      details: { field: 'text', max: String(textBytesMax) },
    });
  }
}

function checkVector(values: Float32Array): void {
  if (values.length > DIMENSIONS_MAX) throw tooManyDimensions();
  // One branch for the whole vector.
  if (Number.isFinite(sumOfSquares(values, 0, values.length))) return;
  const at = values.findIndex((value) => !Number.isFinite(value));
  throw new SwitchyardError(
    'NON_FINITE_VECTOR',
    `vector[${at}] is ${values[at]} as a float32, every number must be finite`,
    { details: { field: 'vector', index: String(at) } },
  );
}

/** JSON can spell half a surrogate pair; as UTF-8 it would silently become another text. */
function checkWellFormed(field: string, text: string): void {
  if ((text as unknown as StringWithUnicode).isWellFormed()) return;
  throw new SwitchyardError(
    'MALFORMED_REQUEST',
    `${field} has half a surrogate pair, which is not a character`,
    {
      details: { field },
    },
  );
}

/** ES2024, in Node 20; not yet in the library types of the compiler's target. */
interface StringWithUnicode {
  isWellFormed(): boolean;
  toWellFormed(): string;
}

export const wellFormed = (text: string): string => (text as unknown as StringWithUnicode).toWellFormed();
