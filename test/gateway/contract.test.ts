import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { Value } from '@sinclair/typebox/value';
import descriptor from 'protobufjs/ext/descriptor/index.js';
import t from 'tap';
import { REASONS } from '../../src/errors.js';
import { apiSchemas } from '../../src/gateway/http/schemas.js';
import { packageRoot, packageVersion } from '../../src/package-root.js';
import { clientOf, LIMITS, startGateway } from './harness.js';

type Json = Record<string, unknown>;

t.test('reflection lists the services and gives descriptors that other implementations accept', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const folder = path.join(packageRoot(), 'node_modules', '@grpc', 'reflection', 'build', 'proto');
  for (const version of ['v1', 'v1alpha']) {
    const file = path.join(folder, 'grpc', 'reflection', version, 'reflection.proto');
    const client = clientOf(file, `grpc.reflection.${version}.ServerReflection`, gateway.grpcAddress);
    t.teardown(() => client.close());
    const ask = (question: Json): Promise<Json> =>
      new Promise((resolve, reject) => {
        const stream = (client.ServerReflectionInfo as () => ClientDuplexStream<Json, Json>).call(client);
        stream.on('data', resolve);
        stream.on('error', reject);
        stream.write(question);
        stream.end();
      });
    const listed = (await ask({ list_services: '*' })) as {
      list_services_response: { service: { name: string }[] };
    };
    t.same(listed.list_services_response.service.map(({ name }) => name).sort(), [
      'grpc.health.v1.Health',
      'switchyard.v1.SearchService',
    ]);
    const found = (await ask({ file_containing_symbol: 'switchyard.v1.SearchService' })) as {
      file_descriptor_response: { file_descriptor_proto: Buffer[] };
    };
    const [bytes] = found.file_descriptor_response.file_descriptor_proto;
    const type = descriptor.FileDescriptorProto;
    const contractFile = type.toObject(type.decode(bytes as Buffer)) as {
      service: { name: string; method: { name: string }[] }[];
      messageType: { name: string; reservedRange?: { start: number; end: number }[] }[];
    };
    t.same(
      contractFile.service[0]?.method.map(({ name }) => name),
      ['Search', 'BatchSearch', 'Embed'],
    );
    const request = contractFile.messageType.find(({ name }) => name === 'SearchRequest');
    t.same(request?.reservedRange, [{ start: 9, end: 10 }], 'a reserved range ends after its start');
  }
});

t.test('the OpenAPI document is whole: references resolve, reasons exist, examples fit', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const document = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as Json & {
    paths: Record<string, Record<string, Json>>;
    components: { schemas: Record<string, Json> };
  };
  t.equal(document.openapi, '3.1.0');
  t.match(document.info, { title: 'Switchyard', version: packageVersion() });
  t.same(Object.keys(document.paths).sort(), [
    '/healthz',
    '/livez',
    '/readyz',
    '/v1/embed',
    '/v1/search',
    '/v1/search:batch',
  ]);
  let references = 0;
  walk(document, (node) => {
    if (typeof node.$ref !== 'string') return;
    references++;
    const name = /^#\/components\/schemas\/(\w+)$/.exec(node.$ref)?.[1];
    t.ok(name !== undefined && Object.hasOwn(document.components.schemas, name), node.$ref);
  });
  t.ok(references > 15, 'the document uses its components');
  t.same(document.components.schemas.BatchSearchRequest?.properties, {
    requests: {
      type: 'array',
      minItems: 1,
      maxItems: LIMITS.batchItemsMax,
      description: 'All of one corpus.',
      items: { $ref: '#/components/schemas/SearchRequest' },
    },
  });
  t.match(document.components.schemas.SearchRequest, {
    additionalProperties: false,
    required: ['corpus'],
    properties: { top_k: { type: 'integer', minimum: 1, maximum: LIMITS.topKMax } },
  });

  const schemas = apiSchemas(LIMITS);
  for (const [address, methods] of Object.entries(document.paths)) {
    const post = methods.post as
      | {
          requestBody: { content: Record<string, { schema: { $ref: string }; example: unknown }> };
          responses: Json;
        }
      | undefined;
    if (post === undefined) continue;
    const body = post.requestBody.content['application/json'];
    const schema = schemas[body?.schema.$ref.split('/').at(-1) as keyof typeof schemas];
    t.ok(Value.Check(schema, body?.example), `the example of ${address} fits its schema`);
    for (const [status, response] of Object.entries(post.responses)) {
      if (status === '200') continue;
      const content = (response as { content: Record<string, { examples: Record<string, { value: Json }> }> })
        .content;
      for (const [reason, { value }] of Object.entries(content['application/problem+json']?.examples ?? {})) {
        t.match(value, { reason, status: Number(status) });
        t.equal(REASONS[reason as keyof typeof REASONS]?.http, Number(status), reason);
        t.ok(Value.Check(schemas.Problem, value), reason);
      }
    }
  }
});

t.test('answers and problem documents have the shape that the schemas promise', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const schemas = apiSchemas(LIMITS);
  const fits = (name: keyof typeof schemas, value: unknown): void => {
    const fault = Value.Errors(schemas[name], value).First();
    t.equal(fault, undefined, `${name}${fault === undefined ? '' : `: ${fault.path} ${fault.message}`}`);
  };
  const request = { corpus: 'animals', text: 'fish', with_document: true };
  fits('SearchResponse', (await gateway.post('/v1/search', request)).body);
  fits('SearchResponse', (await gateway.post('/v1/search', { ...request, with_document: false })).body);
  const requests = [request, { corpus: 'animals', text: '' }];
  fits('BatchSearchResponse', (await gateway.post('/v1/search:batch', { requests })).body);
  fits('EmbedResponse', (await gateway.post('/v1/embed', { model: 'words@1', text: 'fish' })).body);
  fits('Problem', (await gateway.post('/v1/search', { ...request, top_k: 0 })).body);
});

t.test('the JSON of a request has the fields of its protobuf message', async (t) => {
  const text = readFileSync(path.join(packageRoot(), 'proto', 'switchyard', 'v1', 'search.proto'), 'utf8');
  const schemas = apiSchemas(LIMITS);
  for (const name of [
    'SearchRequest',
    'BatchSearchRequest',
    'EmbedRequest',
    'SearchResponse',
    'ServedBy',
  ] as const) {
    const message = new RegExp(`^message ${name} \\{\\n([\\s\\S]*?)^\\}`, 'm').exec(text)?.[1] ?? '';
    const fields = [...message.matchAll(/^\s+(?:optional |repeated )?[\w.]+ (\w+) = \d+;/gm)].map(
      ([, field]) => field,
    );
    t.same(Object.keys(schemas[name].properties).sort(), fields.sort(), name);
  }
});

function walk(node: unknown, visit: (node: Json) => void): void {
  if (typeof node !== 'object' || node === null) return;
  if (!Array.isArray(node)) visit(node as Json);
  for (const part of Object.values(node)) walk(part, visit);
}
