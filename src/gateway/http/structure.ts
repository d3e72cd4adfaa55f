import { Kind, type TSchema, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { type ValueError, ValueErrorType } from '@sinclair/typebox/errors';
import { SwitchyardError } from '../../errors.js';
import { echo, invalidArgument } from '../limits.js';
import { schemaIdentity } from './schemas.js';

/** Returns the value when it has the structure, else throws UNKNOWN_FIELD, INVALID_ARGUMENT or MALFORMED_REQUEST. */
export type StructureCheck = (value: unknown) => void;

/** A hostile body can have very many faults; the answer needs one, and an unknown name is the most telling. */
const FAULTS_READ_MAX = 32;

/**
 * A validator for names and types alone, compiled from an API schema. Bounds are taken out, since `limits.ts` enforces
 * them with reasons of their own; so are the schemas in `elsewhere`, which their reader checks while it converts.
 */
export function compileStructure(schema: TSchema, elsewhere: readonly TSchema[]): StructureCheck {
  const check = TypeCompiler.Compile(structureOf(schema, elsewhere));
  return (value) => {
    if (check.Check(value)) return;
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new SwitchyardError('MALFORMED_REQUEST', 'the body must be a JSON object');
    let first: ValueError | undefined;
    let read = 0;
    for (const fault of check.Errors(value)) {
      first ??= fault;
      if (fault.type === ValueErrorType.ObjectAdditionalProperties) throw unknownField(fault.path);
      if (++read === FAULTS_READ_MAX) break;
    }
    throw wrongType(first);
  };
}

function structureOf(schema: TSchema, elsewhere: readonly TSchema[]): TSchema {
  if (elsewhere.some((other) => schemaIdentity(other) === schemaIdentity(schema))) return Type.Unknown();
  if (schema[Kind] === 'Object') {
    const properties = schema.properties as Record<string, TSchema>;
    const required = (schema.required ?? []) as readonly string[];
    const parts = Object.entries(properties).map(([name, part]): [string, TSchema] => {
      const inner = structureOf(part, elsewhere);
      return [name, required.includes(name) ? inner : Type.Optional(inner)];
    });
    return Type.Object(Object.fromEntries(parts), { additionalProperties: false });
  }
  if (schema[Kind] === 'Array') return Type.Array(structureOf(schema.items as TSchema, elsewhere));
  if (schema[Kind] === 'String') return Type.String();
  // Any number: whether it is whole is a limit, told with its value.
  if (schema[Kind] === 'Integer') return Type.Number();
  return schema;
}

function unknownField(path: string): SwitchyardError {
  const field = fieldName(path);
  return new SwitchyardError('UNKNOWN_FIELD', `the request has no field ${echo(field)}`, {
    details: { field: field.slice(0, 64) },
  });
}

function wrongType(fault: ValueError | undefined): SwitchyardError {
  const field = fieldName(fault?.path ?? '');
  if (fault === undefined) return new SwitchyardError('MALFORMED_REQUEST', 'the body has another structure');
  if (fault.type === ValueErrorType.ObjectRequiredProperty)
    return invalidArgument(field, `${field} is missing`);
  const { schema } = fault;
  const kind = schema[Kind] as string;
  const words = kind === 'Union' ? (schema.anyOf as readonly TSchema[]).map((part) => part.const) : [];
  const wanted = words.length > 0 ? `one of ${words.join(', ')}` : `a JSON ${kind.toLowerCase()}`;
  return invalidArgument(field, `${field} must be ${wanted}`);
}

/** `/requests/3/top_k` as `requests[3].top_k`. */
function fieldName(path: string): string {
  return path
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((part, at) => (at > 0 && /^\d+$/.test(part) ? `[${part}]` : at > 0 ? `.${part}` : part))
    .join('');
}
