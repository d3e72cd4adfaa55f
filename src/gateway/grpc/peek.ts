import type { Priority } from '../../vocabulary.js';
import type { WorkKind } from '../overload/overload.js';

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;
/** Of the last byte of a varint that is still an exact integer. */
const VARINT_SCALE_MAX = 0x80 ** 6;
const PRIORITY_BULK = 2;

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

/**
 * What a request asks for, by the numbers of its fields alone: nothing is copied, decoded or believed, so a refusal
 * under overload costs next to nothing. Null where the bytes do not tell; the decoder then says what is wrong with them.
 */
export function peek(bytes: Uint8Array, fields: PeekFields): Peeked | null {
  let { kind } = fields;
  let priority: Priority = 'live';
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; scale <= VARINT_SCALE_MAX; scale *= 0x80) {
      const byte = bytes[at++];
      if (byte === undefined) return -1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    return -1;
  };
  while (at < bytes.length) {
    const tag = varint();
    if (tag < 0) return null;
    const field = Math.floor(tag / 8);
    kind = fields.kinds[field] ?? kind;
    switch (tag % 8) {
      case VARINT: {
        const value = varint();
        if (value < 0) return null;
        if (field === fields.priority) priority = value === PRIORITY_BULK ? 'bulk' : 'live';
        break;
      }
      case FIXED64:
        at += 8;
        break;
      case BYTES: {
        const length = varint();
        if (length < 0) return null;
        at += length;
        break;
      }
      case FIXED32:
        at += 4;
        break;
      default:
        return null;
    }
  }
  return kind === null ? null : { kind, priority };
}
