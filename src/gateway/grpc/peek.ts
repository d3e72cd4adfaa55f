import type { Priority } from '../../vocabulary.js';
import type { WorkKind } from '../overload/overload.js';

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;
/** Of the last byte of a varint that is still an exact integer. */
const VARINT_SCALE_MAX = 0x80 ** 6;
const PRIORITY_BULK = 2;
/** A message has fewer, and none of them twice: beyond, the decoder refuses it at the first it does not know. */
const FIELDS_MAX = 32;
/** `requests` of a batch. */
const REQUESTS_TAG = 1 * 8 + BYTES;

/** Field numbers of a message that tell what it asks for. */
export interface PeekFields {
  /** What a field of this number makes of the request. */
  readonly kinds: Readonly<Record<number, WorkKind>>;
  readonly kind: WorkKind | null;
  readonly priority: number;
}

export const SEARCH_FIELDS: PeekFields = { kinds: { 2: 'text', 3: 'vector' }, kind: null, priority: 11 };
export const EMBED_FIELDS: PeekFields = { kinds: {}, kind: 'text', priority: 4 };

export interface Peeked {
  readonly kind: WorkKind;
  readonly priority: Priority;
}

/** What a batch asks for, as all of its searches are let in together. */
export interface PeekedBatch extends Peeked {
  readonly items: number;
}

/**
 * What a request asks for, by the numbers of its fields alone: nothing is copied, decoded or believed, so a refusal
 * under overload costs next to nothing. Null where the bytes do not tell; the decoder then says what is wrong with them.
 */
export function peek(bytes: Uint8Array, fields: PeekFields): Peeked | null {
  let { kind } = fields;
  let priority: Priority = 'live';
  const cursor = new Cursor(bytes);
  for (let count = 0; cursor.at < bytes.length; count++) {
    const tag = cursor.varint();
    if (tag < 0 || count === FIELDS_MAX) return null;
    const field = Math.floor(tag / 8);
    kind = fields.kinds[field] ?? kind;
    switch (tag % 8) {
      case VARINT: {
        const value = cursor.varint();
        if (value < 0) return null;
        if (field === fields.priority) priority = value === PRIORITY_BULK ? 'bulk' : 'live';
        break;
      }
      case FIXED64:
        cursor.at += 8;
        break;
      case BYTES: {
        const length = cursor.varint();
        if (length < 0) return null;
        cursor.at += length;
        break;
      }
      case FIXED32:
        cursor.at += 4;
        break;
      default:
        return null;
    }
  }
  return kind === null ? null : { kind, priority };
}

/**
 * The same of a batch, by which it is let in: of texts where one is a text, live where one is live. Null also beyond so
 * many items, which the decoder refuses for that.
 */
export function peekBatch(bytes: Uint8Array, itemsMax: number): PeekedBatch | null {
  const cursor = new Cursor(bytes);
  let kind: WorkKind = 'vector';
  let priority: Priority = 'bulk';
  let items = 0;
  while (cursor.at < bytes.length) {
    if (items === itemsMax || cursor.varint() !== REQUESTS_TAG) return null;
    const length = cursor.varint();
    const end = cursor.at + length;
    if (length < 0 || end > bytes.length) return null;
    const item = peek(bytes.subarray(cursor.at, end), SEARCH_FIELDS);
    if (item === null) return null;
    if (item.kind === 'text') kind = 'text';
    if (item.priority === 'live') priority = 'live';
    items += 1;
    cursor.at = end;
  }
  return items === 0 ? null : { kind, priority, items };
}

class Cursor {
  readonly #bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** -1 where there is none. */
  varint(): number {
    let value = 0;
    for (let scale = 1; scale <= VARINT_SCALE_MAX; scale *= 0x80) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined) return -1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    return -1;
  }
}
