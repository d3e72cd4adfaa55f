import { isUtf8 } from 'node:buffer';
import protobuf from 'protobufjs';
import { SwitchyardError } from '../../errors.js';
import {
  BYTES,
  expectWireType,
  type FieldReader,
  malformed,
  type RepeatedFields,
  readFields,
} from './strict-reader.js';

/** A decoded request: absent optional fields are not there, the others have their zero value. */
export type Fields = Readonly<Record<string, unknown>>;

const TIMESTAMP = '.google.protobuf.Timestamp';

/**
 * Messages of the admin services ↔ the plain values that the operations take and give. Enums are words on this side
 * (`active` for `TARGET_ROLE_ACTIVE`, none for UNSPECIFIED), timestamps ISO 8601, integers numbers. Reflection over
 * the contract: operators' calls are few, so clarity wins over speed here.
 */
export class MessageCodec {
  readonly #type: protobuf.Type;

  constructor(root: protobuf.Root, name: string) {
    this.#type = root.lookupType(name);
  }

  /** Never throws: grpc-js would make a throw INTERNAL. Errors: MALFORMED_REQUEST, UNKNOWN_FIELD. */
  decode(bytes: Buffer): Fields | SwitchyardError {
    try {
      refuseUnknown(this.#type, bytes);
      const message = this.#type.decode(bytes);
      const plain = this.#type.toObject(message, {
        longs: Number,
        enums: String,
        defaults: true,
        arrays: true,
      });
      return fromWire(this.#type, plain);
    } catch (error) {
      if (error instanceof SwitchyardError) return error;
      return malformed('the message is not a valid protobuf encoding of its type', error);
    }
  }

  encode(value: object): Buffer {
    const message = this.#type.fromObject(toWire(this.#type, value as Fields));
    const bytes = this.#type.encode(message).finish();
    return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
}

/** Invariant 6: a client that sends more than this version understands asked for something else. */
function refuseUnknown(type: protobuf.Type, bytes: Uint8Array): void {
  readFields(bytes, type.name, passField, type, repeatedOf(type));
}

function repeatedOf(type: protobuf.Type): RepeatedFields {
  let bits = 0;
  for (const field of type.fieldsArray)
    if (field.repeated || field instanceof protobuf.MapField) bits |= 1 << field.id;
  return bits;
}

const passField: FieldReader<protobuf.Type> = (reader, number, wireType, type) => {
  const field = type.fieldsById[number]?.resolve();
  if (field === undefined) return false;
  if (field.type === 'string' || field.resolvedType instanceof protobuf.Type) {
    expectWireType(type.name, field.name, wireType, BYTES);
    const part = reader.view();
    if (field.type === 'string') {
      if (!isUtf8(part)) throw malformed(`${type.name}.${field.name} is not valid UTF-8`);
    } else refuseUnknown(field.resolvedType as protobuf.Type, part);
  } else reader.skipType(wireType);
  return true;
};

function fromWire(type: protobuf.Type, plain: Record<string, unknown>): Fields {
  const fields: Record<string, unknown> = {};
  for (const field of type.fieldsArray) {
    const value = plain[field.name];
    if (value === undefined || value === null) continue;
    const one = (item: unknown): unknown => itemFromWire(field, item);
    const converted = field.repeated ? (value as unknown[]).map(one) : one(value);
    if (converted !== undefined) fields[field.name] = converted;
  }
  return fields;
}

function itemFromWire(field: protobuf.Field, value: unknown): unknown {
  const { resolvedType } = field;
  if (resolvedType instanceof protobuf.Enum) {
    // A number that the enum does not have stays a number.
    if (typeof value !== 'string')
      throw new SwitchyardError('INVALID_ARGUMENT', `${field.name} has no value ${String(value)}`, {
        details: { field: field.name },
      });
    const word = wordOf(resolvedType, value);
    return word === 'unspecified' ? undefined : word;
  }
  if (!(resolvedType instanceof protobuf.Type)) return value;
  const inner = value as Record<string, unknown>;
  if (resolvedType.fullName !== TIMESTAMP) return fromWire(resolvedType, inner);
  const date = new Date(Number(inner.seconds ?? 0) * 1000 + Number(inner.nanos ?? 0) / 1e6);
  if (Number.isNaN(date.getTime()))
    throw new SwitchyardError('INVALID_ARGUMENT', `${field.name} is beyond the range of times`, {
      details: { field: field.name },
    });
  return date.toISOString();
}

function toWire(type: protobuf.Type, value: Fields): Record<string, unknown> {
  const message: Record<string, unknown> = {};
  for (const field of type.fieldsArray) {
    const given = value[field.resolve().name];
    if (given === undefined || given === null) continue;
    const one = (item: unknown): unknown => itemToWire(field, item);
    if (field.repeated) message[field.name] = (given as unknown[]).map(one);
    else if (field instanceof protobuf.MapField)
      message[field.name] = Object.fromEntries(Object.entries(given).map(([key, item]) => [key, one(item)]));
    else message[field.name] = one(given);
  }
  return message;
}

function itemToWire(field: protobuf.Field, value: unknown): unknown {
  const { resolvedType } = field;
  if (resolvedType instanceof protobuf.Enum) {
    const name = Object.keys(resolvedType.values).find((key) => wordOf(resolvedType, key) === value);
    if (name === undefined) throw new TypeError(`${resolvedType.name} has no word ${String(value)}`);
    return resolvedType.values[name];
  }
  // Any JSON, in a field that the contract calls so.
  if (field.type === 'string' && typeof value === 'object') return JSON.stringify(value);
  if (!(resolvedType instanceof protobuf.Type)) return value;
  if (resolvedType.fullName !== TIMESTAMP) return toWire(resolvedType, value as Fields);
  const ms = Date.parse(String(value));
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanos: (ms - seconds * 1000) * 1e6 };
}

/** `TARGET_ROLE_ACTIVE` of `TargetRole` as `active`; names without the prefix are taken as they are. */
function wordOf(type: protobuf.Enum, name: string): string {
  const prefix = `${type.name.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()}_`;
  return (name.startsWith(prefix) ? name.slice(prefix.length) : name).toLowerCase();
}
