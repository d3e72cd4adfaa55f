import { isUtf8 } from 'node:buffer';
import protobuf from 'protobufjs';
import { SwitchyardError } from '../../errors.js';

export const malformed = (message: string, cause?: unknown): SwitchyardError =>
  new SwitchyardError('MALFORMED_REQUEST', message, { cause });

/** Wire types of the protobuf encoding; groups (3, 4) are not used by the contract. */
export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const FIXED32 = 5;

/**
 * protobufjs' reader, but it refuses what that one repairs in silence: invalid UTF-8 becomes replacement characters
 * there, a string that runs past the end is cut, and an integer above 32 bits loses its upper half.
 */
export class StrictReader extends protobuf.Reader {
  get atEnd(): boolean {
    return this.pos >= this.len;
  }

  /** One length-delimited field as a view into the message. */
  view(): Buffer {
    const bytes = this.bytes();
    return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  text(field: string): string {
    const bytes = this.view();
    if (!isUtf8(bytes)) throw malformed(`${field} is not valid UTF-8`);
    return bytes.toString('utf8');
  }

  /** A varint as it was sent; beyond 2^53 only its being too large for anything is exact. */
  integer(): number {
    const value: unknown = this.uint64();
    return typeof value === 'number' ? value : (value as { toNumber(): number }).toNumber();
  }
}

/** Consumes one field into what is read, and says whether it knew it. */
export type FieldReader<Into> = (
  reader: StrictReader,
  field: number,
  wireType: number,
  into: Into,
) => boolean;

/** Of a message: bit n says that field n may come more than once. Numbers beyond have no bit. */
export type RepeatedFields = number;
const FIELD_BITS = 32;

/**
 * Walks the fields of one message. `read` consumes the fields it knows and returns true; an unknown one is refused
 * (invariant 6: a client that sends more than this version understands would get an answer to another question), and so
 * is one that comes again and is not among `repeated`: the last would win in silence, after all the others cost their time.
 */
export function readFields<Into>(
  bytes: Uint8Array,
  message: string,
  read: FieldReader<Into>,
  into: Into,
  repeated: RepeatedFields = 0,
): void {
  const reader = new StrictReader(bytes);
  let seen = 0;
  while (!reader.atEnd) {
    const tag = reader.uint32();
    const field = tag >>> 3;
    const wireType = tag & 7;
    if (field === 0) throw malformed(`${message} has a field of number 0`);
    const bit = field < FIELD_BITS ? 1 << field : 0;
    if ((seen & bit & ~repeated) !== 0) throw malformed(`${message} has its field ${field} twice`);
    seen |= bit;
    if (read(reader, field, wireType, into)) continue;
    if (wireType > FIXED32) throw malformed(`${message} has a field of wire type ${wireType}`);
    throw new SwitchyardError(
      'UNKNOWN_FIELD',
      `${message} has no field ${field}: the client is newer or wrong`,
      {
        details: { field: String(field), message },
      },
    );
  }
}

export function expectWireType(message: string, field: string, wireType: number, wanted: number): void {
  if (wireType !== wanted)
    throw malformed(`${message}.${field} has wire type ${wireType} in place of ${wanted}`);
}
