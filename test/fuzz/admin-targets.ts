import type { TSchema } from '@sinclair/typebox';
import protobuf from 'protobufjs';
import { SwitchyardError } from '../../src/errors.js';
import { type OperationName, operationNames, operationOf } from '../../src/gateway/admin/api.js';
import { inputReader } from '../../src/gateway/admin/http-call.js';
import { hasBody, restOf } from '../../src/gateway/admin/operation.js';
import { MessageCodec } from '../../src/gateway/grpc/message-codec.js';
import { loadAdminProtos } from '../../src/gateway/grpc/protos.js';
import { parseJsonBody } from '../../src/gateway/http/json-body.js';
import type { FuzzTarget } from './targets.js';

const SERVICES = ['Router', 'Registry', 'Migration', 'Evaluation', 'Key'];
const MESSAGE_CASES = 150;
const BODY_CASES = 150;
/** Of messages within messages. */
const DEPTH_MAX = 4;
const NUMBERS: Readonly<Record<string, number>> = { double: 0.5, float: 0.5, bool: 1 };

/** Every request of an operator, over gRPC and as the body of one over HTTP. */
export function adminTargets(): FuzzTarget[] {
  const { root } = loadAdminProtos();
  const types = SERVICES.flatMap((service) =>
    root
      .lookupService(`switchyard.v1.${service}Service`)
      .methodsArray.map(({ requestType }) => `switchyard.v1.${requestType}`),
  );
  return [
    ...[...new Set(types)].map((name) => messageTarget(root, name)),
    ...operationNames.flatMap(bodyTarget),
  ];
}

function messageTarget(root: protobuf.Root, name: string): FuzzTarget {
  const type = root.lookupType(name);
  const codec = new MessageCodec(root, name);
  return {
    name: `message ${type.name}`,
    cases: MESSAGE_CASES,
    seeds: [0, 1].map((which) => Buffer.from(type.encode(type.fromObject(sample(type, which))).finish())),
    run: (bytes) => {
      const decoded = codec.decode(bytes);
      if (decoded instanceof SwitchyardError) throw decoded;
    },
  };
}

/** Every field with something in it; of a choice the first or the last. */
function sample(type: protobuf.Type, which: number, depth = 0): Record<string, unknown> {
  const fields = type.fieldsArray.filter((field) => {
    const { partOf } = field;
    return partOf === null || partOf.fieldsArray.at(which === 0 ? 0 : -1) === field;
  });
  return Object.fromEntries(
    fields.flatMap((field) => {
      const value = sampleValue(field.resolve(), which, depth);
      if (value === undefined) return [];
      if (field instanceof protobuf.MapField) return [[field.name, { a: value }]];
      return [[field.name, field.repeated ? [value, value] : value]];
    }),
  );
}

function sampleValue(field: protobuf.Field, which: number, depth: number): unknown {
  const { resolvedType, type } = field;
  if (resolvedType instanceof protobuf.Enum) return Object.values(resolvedType.values).at(-1);
  if (resolvedType instanceof protobuf.Type)
    return depth < DEPTH_MAX ? sample(resolvedType, which, depth + 1) : undefined;
  if (type === 'string') return 'a';
  if (type === 'bytes') return Buffer.from([1, 2, 3]);
  return NUMBERS[type] ?? 7;
}

const CALL = {
  params: { corpus: 'docs', version: 'v1', model: 'words@1', id: 'a', key_id: 'a', consumer: 'a' },
  query: {},
  headers: { 'if-match': '"1"' },
  actor: null,
  keyId: null,
};

function bodyTarget(name: OperationName): FuzzTarget[] {
  const operation = operationOf(name);
  if (!hasBody(operation)) return [];
  const read = inputReader(operation, operation.address);
  const run = (bytes: Buffer): void => void read({ ...CALL, body: parseJsonBody(bytes) });
  const seed = Buffer.from(JSON.stringify(valueOfSchema(restOf(operation, operation.address))));
  return [{ name: `body of ${name}`, cases: BODY_CASES, seeds: [seed], run }];
}

const STRINGS = [
  'a',
  'docs',
  'v1',
  'words@1',
  'a'.repeat(64),
  `mf1_${'a'.repeat(32)}`,
  '2026-01-01T00:00:00Z',
];

/** Something that the schema of a body takes, with every field. */
function valueOfSchema(schema: TSchema): unknown {
  if (schema.const !== undefined) return schema.const;
  if (Array.isArray(schema.enum)) return schema.enum[0];
  if (Array.isArray(schema.anyOf)) return valueOfSchema(schema.anyOf[0] as TSchema);
  switch (schema.type) {
    case 'object':
      return Object.fromEntries(
        Object.entries((schema.properties ?? {}) as Record<string, TSchema>).map(([name, part]) => [
          name,
          valueOfSchema(part),
        ]),
      );
    case 'array':
      return [valueOfSchema(schema.items as TSchema)];
    case 'string':
      return STRINGS.find((text) => new RegExp((schema.pattern as string | undefined) ?? '').test(text));
    case 'boolean':
      return true;
    case 'null':
      return null;
    default:
      return schema.minimum ?? 1;
  }
}
