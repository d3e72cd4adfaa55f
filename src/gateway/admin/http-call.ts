import type { TObject } from '@sinclair/typebox';
import { SwitchyardError } from '../../errors.js';
import { compileStructure } from '../http/structure.js';
import { echo, invalidArgument } from '../limits.js';
import { signedActor } from './callers.js';
import {
  ACTOR_FIELD,
  hasBody,
  isRevised,
  isWhole,
  type Operation,
  REVISION_FIELD,
  restOf,
} from './operation.js';
import { expectedRevision, type PreconditionHeaders } from './precondition.js';

/** A request as the listener got it, unread. */
export interface HttpCall {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string | readonly string[]>>;
  readonly body: unknown;
  readonly headers: PreconditionHeaders;
  /** Of the header x-switchyard-actor; null where there is none. */
  readonly actor: string | null;
  /** Of the key that let it in; null where none is asked for. */
  readonly keyId: string | null;
}

type Fields = Readonly<Record<string, unknown>>;

/** Puts an operation's input together from address, query or body, and headers. Errors: those of a request's structure. */
export function inputReader(operation: Operation, address: string): (call: HttpCall) => Fields {
  const rest = restOf(operation, address);
  const checkBody = compileStructure(rest, []);
  const isChange = Object.hasOwn(operation.input.properties, ACTOR_FIELD);
  const revised = isRevised(operation);
  return ({ params, query, body, headers, actor, keyId }) => {
    const fields: Fields = hasBody(operation) ? readBody(body, query, checkBody) : readQuery(query, rest);
    const revision = revised ? expectedRevision(headers) : null;
    return {
      ...fields,
      ...params,
      ...(isChange ? { actor: signedActor((fields.actor as string | undefined) ?? actor, keyId) } : {}),
      ...(revision === null ? {} : { [REVISION_FIELD]: revision }),
    };
  };
}

function readBody(body: unknown, query: HttpCall['query'], check: (value: unknown) => void): Fields {
  for (const name of Object.keys(query)) throw unknownParameter(name);
  check(body);
  return body as Fields;
}

function readQuery(query: HttpCall['query'], schema: TObject): Fields {
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(query)) {
    const part = schema.properties[name];
    if (part === undefined) throw unknownParameter(name);
    if (typeof value !== 'string')
      throw invalidArgument(name, `the query parameter ${name} is given more than once`);
    fields[name] = isWhole(part) ? wholeNumber(name, value) : value;
  }
  for (const name of (schema.required ?? []) as readonly string[])
    if (fields[name] === undefined) throw invalidArgument(name, `the query parameter ${name} is missing`);
  return fields;
}

function wholeNumber(name: string, text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw invalidArgument(name, `the query parameter ${name} must be a whole number`);
}

const unknownParameter = (name: string): SwitchyardError =>
  new SwitchyardError('UNKNOWN_FIELD', `this address takes no query parameter ${echo(name)}`, {
    details: { field: name.slice(0, 64) },
  });
