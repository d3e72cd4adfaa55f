import type { Reason } from '../../errors.js';
import { REQUEST_ID_HEADER, REQUEST_ID_PATTERN } from '../request-id.js';
import { EVALUATION, TRAFFIC_HEADER } from '../traffic-header.js';
import { namedSchemas, problemResponses, reference } from './openapi-parts.js';
import type { ApiSchemas } from './schemas.js';

export interface OperationDocument {
  /** Whether its requests are counted for the version that answers. */
  readonly isTraffic: boolean;
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly request: keyof ApiSchemas;
  readonly response: keyof ApiSchemas;
  readonly example: unknown;
  readonly reasons: readonly Reason[];
}

export const TIMEOUT_HEADER = 'x-request-timeout-ms';

/** The OpenAPI 3.1 document: its schemas are the ones that requests are validated with. */
export function openApiDocument(
  schemas: ApiSchemas,
  operations: readonly OperationDocument[],
  version: string,
  deadlineMs: { readonly byDefault: number; readonly max: number },
): Record<string, unknown> {
  const paths = Object.fromEntries(
    operations.map((operation) => [operation.path, { post: operationObject(operation, deadlineMs) }]),
  );
  return {
    openapi: '3.1.0',
    info: {
      title: 'Switchyard',
      version,
      description:
        'Nearest documents of a corpus. Errors are RFC 9457 problem documents; docs/errors.md lists the reasons.',
    },
    paths: { ...paths, ...healthPaths() },
    // Asked for by listeners with `auth: keys`.
    security: [{ apiKey: [] }, {}],
    components: {
      schemas: namedSchemas(schemas).components,
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer', description: 'An API key, sy_<id>_<secret>.' },
      },
    },
  };
}

const TRAFFIC_PARAMETER = {
  name: TRAFFIC_HEADER,
  in: 'header',
  description:
    'Searches that compare versions are not counted as traffic of their key. With keys it takes one of role operator or admin.',
  schema: { type: 'string', enum: [EVALUATION] },
};

function operationObject(
  operation: OperationDocument,
  deadlineMs: { readonly byDefault: number; readonly max: number },
): Record<string, unknown> {
  return {
    operationId: operation.operationId,
    summary: operation.summary,
    parameters: [
      {
        name: TIMEOUT_HEADER,
        in: 'header',
        description: `Milliseconds the answer is waited for; ${deadlineMs.byDefault} when absent, at most ${deadlineMs.max}.`,
        schema: { type: 'integer', minimum: 0, default: deadlineMs.byDefault },
      },
      {
        name: REQUEST_ID_HEADER,
        in: 'header',
        description: 'Comes back in the answer and in problem documents; made up when absent.',
        schema: { type: 'string', pattern: REQUEST_ID_PATTERN },
      },
      ...(operation.isTraffic ? [TRAFFIC_PARAMETER] : []),
    ],
    requestBody: {
      required: true,
      content: { 'application/json': { schema: reference(operation.request), example: operation.example } },
    },
    responses: {
      200: {
        description: 'The answer.',
        content: { 'application/json': { schema: reference(operation.response) } },
      },
      ...problemResponses(operation.reasons),
    },
  };
}

function healthPaths(): Record<string, unknown> {
  const json = (description: string) => ({ description, content: { 'application/json': { schema: {} } } });
  return {
    '/livez': {
      get: { operationId: 'livez', summary: 'The process runs.', responses: { 200: json('It runs.') } },
    },
    '/readyz': {
      get: {
        operationId: 'readyz',
        summary: 'The gateway takes traffic.',
        responses: { 200: json('It does.'), 503: json('It does not: why, per corpus.') },
      },
    },
    '/healthz': {
      get: {
        operationId: 'healthz',
        summary: 'State in one word, and what is degraded.',
        responses: { 200: json('The state.') },
      },
    },
  };
}
