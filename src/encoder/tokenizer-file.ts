import { SwitchyardError } from '../errors.js';

/** A `tokenizer.json` or a part of it. */
export type Json = Readonly<Record<string, unknown>>;

/** Kinds of model that are run. WordLevel is none: the library takes its unknown words for no token at all. */
const KINDS = ['WordPiece', 'BPE', 'Unigram'] as const;
type Kind = (typeof KINDS)[number];

/** What a graph is given is an int32. */
const ID_MAX = 2 ** 31 - 1;

export interface CheckedTokenizerFile {
  /** Names its model's kind, also where the file does not. */
  readonly json: Json;
  /** Largest id that a text can have. */
  readonly idMax: number;
}

/**
 * Whether every text has ids by a file of the tokenizers library: the library checks nothing, and a token without an id
 * is none to it, which a graph would be given as token 0. Errors: INVALID_MODEL naming the file.
 */
export function checkTokenizerFile(json: Json, fileName: string): CheckedTokenizerFile {
  const refuse = (problem: string): never => {
    throw new SwitchyardError('INVALID_MODEL', `${fileName} ${problem}`);
  };
  const { model, added_tokens: added } = json;
  if (!isRecord(model)) return refuse('has no model');
  const kind = kindOf(model);
  if (kind === null) return refuse(`has another kind of model than those that are run: ${KINDS.join(', ')}`);
  // The library would put "undefined" or "null" before the later pieces of a word, and find none of them.
  if (kind === 'WordPiece' && typeof model.continuing_subword_prefix !== 'string')
    return refuse('has no continuing_subword_prefix (of model), so it cannot split words');
  if (!Array.isArray(added)) return refuse('has no list of added_tokens');

  const ids = new Map<string, number>();
  const add = (token: unknown, id: unknown, where: string): void => {
    if (typeof token !== 'string') refuse(`has a token in ${where} that is no string`);
    else if (!isId(id)) refuse(`has a token in ${where} whose id is not a whole number from 0 to ${ID_MAX}`);
    else ids.set(token, id);
  };
  const { vocab } = model;
  if (kind === 'Unigram') {
    if (!Array.isArray(vocab)) return refuse('has no list of pieces (model.vocab)');
    for (const [id, piece] of vocab.entries()) {
      const [token, score]: readonly unknown[] = Array.isArray(piece) ? piece : [];
      if (!Number.isFinite(score)) refuse('has a piece in model.vocab without a score');
      add(token, id, 'model.vocab');
    }
  } else {
    if (!isRecord(vocab)) return refuse('has no vocabulary (model.vocab)');
    for (const [token, id] of Object.entries(vocab)) add(token, id, 'model.vocab');
  }
  for (const token of added) {
    if (!isRecord(token)) return refuse('has an added token that is no object');
    const { content, id } = token;
    // The reference would take the vocabulary's, the library the other.
    if (typeof content === 'string' && ids.has(content) && ids.get(content) !== id)
      refuse('has an added token with another id than the same token has elsewhere');
    add(content, id, 'added_tokens');
  }
  if (!knowsUnknown(kind, model, ids))
    refuse(
      `has no id for the token of unknown words (model.${kind === 'Unigram' ? 'unk_id' : 'unk_token'}), so it cannot encode them`,
    );

  let idMax = 0;
  for (const id of ids.values()) idMax = Math.max(idMax, id);
  return { json: { ...json, model: { ...model, type: kind } }, idMax };
}

/** null: none that is run. Files of the library's first years name no kind; it is known by what else they have. */
function kindOf(model: Json): Kind | null {
  if (Object.hasOwn(model, 'type')) return KINDS.find((kind) => kind === model.type) ?? null;
  if (Array.isArray(model.vocab)) return 'Unigram';
  if (!Object.hasOwn(model, 'continuing_subword_prefix') || !Object.hasOwn(model, 'unk_token')) return null;
  return Object.hasOwn(model, 'merges') ? 'BPE' : 'WordPiece';
}

/** A BPE model may have none: one of bytes knows everything, another leaves out what it does not know. */
function knowsUnknown(kind: Kind, model: Json, ids: ReadonlyMap<string, number>): boolean {
  const { unk_token: token, unk_id: id, vocab } = model;
  switch (kind) {
    case 'Unigram':
      return isId(id) && id < (vocab as readonly unknown[]).length;
    case 'BPE':
      return token === undefined || token === null || (typeof token === 'string' && ids.has(token));
    case 'WordPiece':
      return typeof token === 'string' && ids.has(token);
    default:
      return kind satisfies never;
  }
}

const isId = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= ID_MAX;

const isRecord = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
