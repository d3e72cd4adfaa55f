import { Metadata } from '@grpc/grpc-js';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { decodeBatch, decodeEmbed, decodeSearch } from '../../src/gateway/grpc/convert.js';
import { parseJsonBody } from '../../src/gateway/http/json-body.js';
import { DIMENSIONS_MAX } from '../../src/gateway/limits.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from '../security/keys.js';
import { contract, LIMITS, startGateway } from './harness.js';

const ITEMS_MAX = LIMITS.batchItemsMax;
const EMPTY_ITEM = Buffer.from([0x0a, 0x00]);
/** No message of the contract begins like this. */
const BROKEN = Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff]);

const repeat = (bytes: Uint8Array, count: number): Buffer =>
  Buffer.concat(Array.from({ length: count }, () => bytes));

const messageOf = (decoded: unknown): string => {
  if (!(decoded instanceof SwitchyardError)) throw new Error('it was not refused');
  return `${decoded.reason}: ${decoded.message}`;
};

t.test('of a batch nothing is read beyond its limit', (t) => {
  const [full, over] = [repeat(EMPTY_ITEM, ITEMS_MAX), repeat(EMPTY_ITEM, ITEMS_MAX + 1)];
  t.equal((decodeBatch(full, ITEMS_MAX) as readonly unknown[]).length, ITEMS_MAX);
  const refused = /^INVALID_ARGUMENT: requests has more than 16 items/;
  t.match(messageOf(decodeBatch(over, ITEMS_MAX)), refused);
  t.match(
    messageOf(decodeBatch(Buffer.concat([over, BROKEN]), ITEMS_MAX)),
    refused,
    'whatever is there: it is not looked at',
  );
  t.match(messageOf(decodeBatch(Buffer.concat([full, BROKEN]), ITEMS_MAX)), /^MALFORMED_REQUEST/);
  t.end();
});

t.test('of a vector whose values come one by one nothing is read beyond what a vector may have', (t) => {
  const one = Buffer.from([0x0d, 0, 0, 0x80, 0x3f]);
  const empty = Buffer.from([0x0a, 0x00]);
  for (const piece of [one, empty])
    for (const rest of [Buffer.alloc(0), BROKEN]) {
      const vector = Buffer.concat([repeat(piece, DIMENSIONS_MAX + 1), rest]);
      t.match(
        messageOf(decodeSearch(vectorField(vector))),
        /^INVALID_ARGUMENT: vector has more than 16384 dimensions/,
      );
    }
  const whole = decodeSearch(vectorField(repeat(one, DIMENSIONS_MAX)));
  if (whole instanceof SwitchyardError) throw whole;
  t.equal(whole.vector?.length, DIMENSIONS_MAX);
  t.end();
});

t.test('a field that may be there once and comes twice is refused, as a key is over HTTP', (t) => {
  const decoders = { SearchRequest: decodeSearch, EmbedRequest: decodeEmbed };
  let fields = 0;
  for (const [type, decode] of Object.entries(decoders))
    for (const field of contract.lookupType(`switchyard.v1.${type}`).fieldsArray) {
      fields++;
      const isNumber = ['uint32', 'bool', 'InputRole', 'Priority'].includes(field.type);
      const once = Buffer.from(isNumber ? [field.id << 3, 1] : [(field.id << 3) | 2, 0]);
      t.notOk(decode(once) instanceof SwitchyardError, `${type}.${field.name} once`);
      t.match(messageOf(decode(repeat(once, 2))), /^MALFORMED_REQUEST: .* twice$/, `${type}.${field.name}`);
    }
  t.ok(fields > 12, `${fields} fields`);
  t.match(
    messageOf(decodeSearch(vectorField(repeat(Buffer.from([0x12, 0]), 2)))),
    /Vector has its field 2 twice/,
  );
  t.end();
});

t.test('over HTTP a batch is counted before its items are looked at', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const requests = [
    ...Array.from({ length: ITEMS_MAX }, () => ({ corpus: 'animals', text: 'a' })),
    { wrong: 1 },
  ];
  const refused = await gateway.post('/v1/search:batch', { requests });
  t.match(refused, { reason: 'INVALID_ARGUMENT', message: /requests has more than 16 items/ });
  const fewer = await gateway.post('/v1/search:batch', { requests: requests.slice(1) });
  t.match(fewer, { reason: 'UNKNOWN_FIELD' });
  const vector = new Array(DIMENSIONS_MAX + 1).fill(null);
  const search = { corpus: 'animals', model: 'words@1', vector };
  t.match(await gateway.post('/v1/search', search), { message: /vector has more than 16384 dimensions/ });
});

t.test('a body of more strings, objects and arrays than any request has is refused unparsed', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const most = 64 * (ITEMS_MAX + 1);
  for (const [name, part] of [
    ['objects', '{}'],
    ['arrays', '[]'],
    ['strings', '""'],
  ] as const) {
    const body = `{"requests":[${new Array(most).fill(part).join(',')}`;
    t.match(
      await gateway.postRaw('/v1/search:batch', body),
      { reason: 'MALFORMED_REQUEST', message: new RegExp(`more than ${most} strings, objects and arrays`) },
      `${name}, before it is seen that this is no JSON`,
    );
  }
  const everything = {
    corpus: 'animals',
    text: 'a fish',
    top_k: 1,
    model: 'words@1',
    corpus_version: 'v1',
    affinity_key: 'a',
    with_document: false,
    bypass_cache: true,
    priority: 'live',
  };
  const fullest = { requests: Array.from({ length: ITEMS_MAX }, () => everything) };
  t.equal((await gateway.post('/v1/search:batch', fullest)).reason, 'OK', 'every field of every item');
  t.same(parseJsonBody(Buffer.from('{"a":["b",{}]}'), 5), { a: ['b', {}] });
  t.throws(() => parseJsonBody(Buffer.from('{"a":["b",{}]}'), 4), /more than 4 strings, objects and arrays/);
});

t.test('a key that may ask no more is told so before its message is decoded', async (t) => {
  const key = makeKey({ concurrencyMax: 0 });
  const gateway = await startGateway({ keys: ringOf([key]), listen: KEYED_LISTENERS });
  t.teardown(() => gateway.close());
  const metadata = new Metadata();
  metadata.set('authorization', bearer(key.token).authorization ?? '');
  for (const method of ['Search', 'BatchSearch', 'Embed'])
    t.match(
      await gateway.callRaw(method, BROKEN, {}, metadata),
      { reason: 'QUOTA_EXCEEDED' },
      `${method}: and not MALFORMED_REQUEST`,
    );
});

/** Field 3 of a SearchRequest. */
function vectorField(vector: Buffer): Buffer {
  const length: number[] = [];
  for (let rest = vector.length; ; rest >>>= 7) {
    length.push(rest < 0x80 ? rest : (rest & 0x7f) | 0x80);
    if (rest < 0x80) break;
  }
  return Buffer.concat([Buffer.from([0x1a, ...length]), vector]);
}
