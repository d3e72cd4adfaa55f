import { Kind, type TObject, type TSchema } from '@sinclair/typebox';
import type protobuf from 'protobufjs';
import { type AdminApi, OPERATIONS, type OperationName, operationOf } from '../admin/api.js';
import { signedActor } from '../admin/callers.js';
import { ACTOR_FIELD, type Operation } from '../admin/operation.js';
import { compileStructure } from '../http/structure.js';
import type { Fields } from './message-codec.js';

/** Who asks: what the metadata says of it, and the key that let it in; null where there is none. */
export interface Author {
  readonly stated: string | null;
  readonly keyId: string | null;
}

/** One unary method of an admin service: messages of the contract in, an operation, a message out. */
export interface AdminMethod {
  readonly request: string;
  readonly response: string;
  run(api: AdminApi, request: Fields, author: Author): Promise<object>;
}

/** The methods of a service by name: each is the operation of the same name. */
export function methodsOf(service: protobuf.Service): Readonly<Record<string, AdminMethod>> {
  const unary = service.methodsArray.filter(({ responseStream }) => responseStream !== true);
  return Object.fromEntries(unary.map((method) => [method.name, methodOf(method)]));
}

function methodOf({ name, requestType, responseType }: protobuf.Method): AdminMethod {
  const operationName = `${name.charAt(0).toLowerCase()}${name.slice(1)}`;
  if (!isOperation(operationName)) throw new TypeError(`the contract's ${name} is no operation`);
  const operation = operationOf(operationName);
  const read = inputReader(operation);
  return {
    request: requestType,
    response: responseType,
    run: async (api, request, author) => {
      const run = api[operationName].bind(api) as (input: object) => Promise<unknown>;
      const answer = await run(read(request, author));
      if (operation.output === null) return {};
      return operation.envelope === undefined ? (answer as object) : { [operation.envelope]: answer };
    },
  };
}

const isOperation = (name: string): name is OperationName => Object.hasOwn(OPERATIONS, name);

/** Checks a message as the body of the same operation is checked. Errors: INVALID_ARGUMENT naming the field. */
function inputReader({ input }: Operation): (request: Fields, author: Author) => Fields {
  const check = compileStructure(input, []);
  const isChange = Object.hasOwn(input.properties, ACTOR_FIELD);
  return (request, { stated, keyId }) => {
    const fields = fieldsOf(input, request);
    const given = isChange
      ? { ...fields, actor: signedActor((fields.actor as string | undefined) || stated, keyId) }
      : fields;
    check(given);
    return given;
  };
}

/** Only what the input has: a target's read-only fields are not among it. An empty text is one that was not sent. */
function fieldsOf(schema: TObject, message: Fields): Fields {
  const required = new Set<string>(schema.required ?? []);
  const fields: Record<string, unknown> = {};
  for (const [name, part] of Object.entries(schema.properties)) {
    const value = message[name];
    if (value === undefined || (value === '' && !required.has(name))) continue;
    fields[name] = partOf(part, value);
  }
  return fields;
}

function partOf(schema: TSchema, value: unknown): unknown {
  if (schema[Kind] !== 'Array') return value;
  const items = schema.items as TSchema;
  return (value as readonly unknown[]).map((item) =>
    items[Kind] === 'Object' ? fieldsOf(items as TObject, item as Fields) : item,
  );
}
