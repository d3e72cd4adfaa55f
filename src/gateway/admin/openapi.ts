import type { TSchema } from '@sinclair/typebox';
import { Type } from '@sinclair/typebox';
import type { Reason } from '../../errors.js';
import { namedSchemas, problemResponses } from '../http/openapi-parts.js';
import { Problem } from '../http/schemas.js';
import { type OperationName, operationNames, operationOf } from './api.js';
import * as archives from './archive-views.js';
import { ACTOR_HEADER } from './callers.js';
import * as comparisons from './comparison-views.js';
import * as evaluations from './evaluation-views.js';
import * as keys from './key-views.js';
import * as migrations from './migration-views.js';
import { ACTOR_FIELD, hasBody, isRevised, type Operation, parametersOf, restOf } from './operation.js';
import { closed } from './schema-words.js';
import * as views from './views.js';

/** Read by GET, and shown beside the operations: what this process says about itself. */
const READ_ONLY = {
  '/v1/status': 'This process: version, routes, targets, the registry.',
  '/livez': 'The process runs.',
  '/metrics': 'Metrics as Prometheus text.',
  '/openapi.json': 'This document.',
} as const;
export const VIEW_ADDRESSES = Object.keys(READ_ONLY);

const EVERY_OPERATION = ['UNKNOWN_FIELD', 'REGISTRY_UNAVAILABLE', 'INTERNAL'] as const;
const EVERY_INPUT = ['INVALID_ARGUMENT'] as const;
const EVERY_BODY = [
  'MALFORMED_REQUEST',
  'REQUEST_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'UNSUPPORTED_ENCODING',
] as const;

/** The admin API as OpenAPI 3.1: its schemas are the ones that requests are validated with. */
export function adminOpenApi(version: string): Record<string, unknown> {
  const isSchema = (entry: [string, unknown]): entry is [string, TSchema] => typeof entry[1] === 'object';
  const schemas = Object.fromEntries(
    Object.entries({
      ...views,
      ...comparisons,
      ...evaluations,
      ...migrations,
      ...archives,
      ...keys,
      Problem,
    }).filter(isSchema),
  );
  const named = namedSchemas(schemas);
  const paths: Record<string, Record<string, unknown>> = {};
  for (const name of operationNames) {
    const operation = operationOf(name);
    for (const address of [operation.address, operation.alsoAt]) {
      if (address === undefined) continue;
      const object = operationObject(name, operation, address, named.show);
      paths[address] = { ...paths[address], [operation.method.toLowerCase()]: object };
    }
  }
  for (const [address, summary] of Object.entries(READ_ONLY))
    paths[address] = { get: { summary, responses: { 200: { description: summary } } } };
  return {
    openapi: '3.1.0',
    info: {
      title: 'Switchyard admin',
      version,
      description:
        'What operators do. Errors are RFC 9457 problem documents; docs/errors.md lists the reasons. Changes are audited with who and why.',
    },
    paths,
    components: { schemas: named.components },
  };
}

type Show = (schema: TSchema) => unknown;

function operationObject(name: OperationName, operation: Operation, address: string, show: Show): object {
  const rest = restOf(operation, address);
  const isAlias = address !== operation.address;
  return {
    operationId: isAlias ? `${name}Of` : name,
    summary: operation.summary,
    parameters: [
      ...parametersOf(address).map((field) => ({
        name: field,
        in: 'path',
        required: true,
        schema: show(operation.input.properties[field] as TSchema),
      })),
      ...(hasBody(operation) ? [] : queryParameters(rest.properties, rest.required ?? [], show)),
      ...headerParameters(operation),
    ],
    ...(hasBody(operation)
      ? { requestBody: { required: true, content: { 'application/json': { schema: show(rest) } } } }
      : {}),
    responses: { ...success(operation, show), ...problemResponses(reasonsOf(operation)) },
  };
}

const queryParameters = (
  properties: Readonly<Record<string, TSchema>>,
  required: readonly string[],
  show: Show,
): readonly object[] =>
  Object.entries(properties).map(([name, schema]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    schema: show(schema),
  }));

function headerParameters(operation: Operation): readonly object[] {
  const header = (name: string, description: string) => ({
    name,
    in: 'header',
    description,
    schema: { type: 'string' },
  });
  return [
    ...(isRevised(operation)
      ? [
          header('if-match', 'The revision that the change is based on, as ETag has it: "7".'),
          header('if-none-match', '* makes a route that does not exist.'),
        ]
      : []),
    ...(Object.hasOwn(operation.input.properties, ACTOR_FIELD)
      ? [header(ACTOR_HEADER, 'Who, where the request does not say.')]
      : []),
  ];
}

function success({ output, envelope }: Operation, show: Show): Record<string, unknown> {
  if (output === null) return { 204: { description: 'Done.' } };
  const schema = envelope === undefined ? output : Type.Object({ [envelope]: output }, closed);
  return {
    200: {
      description: 'The answer.',
      ...(output === views.RouteView
        ? { headers: { etag: { description: 'The revision.', schema: { type: 'string' } } } }
        : {}),
      content: { 'application/json': { schema: show(schema) } },
    },
  };
}

const reasonsOf = (operation: Operation): readonly Reason[] => [
  ...EVERY_OPERATION,
  ...(Object.keys(operation.input.properties).length > 0 ? EVERY_INPUT : []),
  ...(hasBody(operation) ? EVERY_BODY : []),
  ...operation.reasons,
];
