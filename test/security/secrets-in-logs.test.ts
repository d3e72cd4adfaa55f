import { connect } from 'node:net';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import t from 'tap';
import { contract, LIMITS, startGateway } from '../gateway/harness.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from './keys.js';

const MARKER = 'zebra-marker-7391';
const live = makeKey();
const limited = makeKey({ requestsPerS: 1 });
const revoked = makeKey({ revokedAt: new Date() });
const other = makeKey({ corpora: ['other'] });
const stranger = makeKey();
const KEYS = [live, limited, revoked, other, stranger];
/** What must be nowhere: the text, and the part of each key that nobody may know. */
const FORBIDDEN = [MARKER, ...KEYS.map(({ token }) => token.slice(16)), 'a secret of tests, of 32 letters'];

const TEXT = `${MARKER} and what stands around it`;
const bodies: readonly (string | object)[] = [
  { corpus: 'animals', text: TEXT },
  { corpus: 'nowhere', text: TEXT },
  { corpus: 'animals', text: `${TEXT} \ud800` },
  { corpus: 'animals', text: `${TEXT}${'x'.repeat(LIMITS.textBytesMax)}` },
  { corpus: 'animals', text: TEXT, top_k: 0 },
  { corpus: 'animals', text: TEXT, model: 'nobody@1' },
  { corpus: 'animals', text: TEXT, corpus_version: 'v9' },
  { corpus: 'animals', text: TEXT, vector: [1] },
  { corpus: 'animals', text: [TEXT] },
  { corpus: 'animals', text: TEXT, unknown: TEXT },
  {
    requests: [
      { corpus: 'animals', text: TEXT },
      { corpus: 'other', text: TEXT },
    ],
  },
  {
    requests: [
      { corpus: 'animals', text: TEXT },
      { corpus: 'animals', text: TEXT, top_k: -1 },
    ],
  },
  { model: 'words@1', text: TEXT },
  { model: 'nobody@1', text: TEXT },
  `{"corpus":"animals","text":"${TEXT}`,
  `{"corpus":"animals","text":"${TEXT}","text":"${TEXT}"}`,
  `${TEXT}`,
  `{"text": ${TEXT}}`,
];
const headerSets: readonly Readonly<Record<string, string>>[] = [
  bearer(live.token),
  {},
  bearer(stranger.token),
  bearer(revoked.token),
  bearer(other.token),
  bearer(limited.token),
  { authorization: live.token },
  { authorization: `Basic ${live.token}` },
  { ...bearer(live.token), 'content-type': 'text/plain' },
  { ...bearer(live.token), 'content-encoding': 'gzip' },
  { ...bearer(live.token), 'x-request-timeout-ms': '0' },
  { ...bearer(live.token), 'x-request-timeout-ms': TEXT },
];

t.test('neither texts nor keys are in logs, and errors repeat neither', async (t) => {
  const gateway = await startGateway({
    listen: KEYED_LISTENERS,
    keys: ringOf([live, limited, revoked, other]),
  });
  t.teardown(() => gateway.close());
  const answers: string[] = [];
  const reasons = new Set<string>();
  /** Methods of gRPC that understood a message. */
  const answered = new Set<string>();

  const overHttp = async (): Promise<void> => {
    for (const path of ['/v1/search', '/v1/search:batch', '/v1/embed', '/v1/nothing'])
      for (const headers of headerSets)
        for (const body of bodies) {
          const response = await fetch(gateway.url + path, {
            method: 'POST',
            headers: { 'content-type': 'application/json', ...headers },
            body: typeof body === 'string' ? body : JSON.stringify(body),
          });
          const text = await response.text();
          if (response.ok) continue;
          answers.push(text);
          reasons.add(String((JSON.parse(text) as { reason: string }).reason));
        }
    await fetch(`${gateway.url}/v1/search?text=${MARKER}`, { headers: bearer(live.token) }).then((r) =>
      r.text(),
    );
    await fetch(`${gateway.adminUrl}/v1/routes/${MARKER}?key=${live.token}`).then((r) => r.text());
    // What is no HTTP at all, and a request that is cut off.
    for (const bytes of [
      `${TEXT}\r\n\r\n`,
      `POST /v1/search HTTP/1.1\r\nauthorization: Bearer ${live.token}\r\n${TEXT}`,
    ])
      await new Promise<void>((resolve) => {
        const socket = connect(gateway.faces.addresses.http.port, '127.0.0.1', () => socket.end(bytes));
        socket
          .on('close', () => resolve())
          .on('error', () => resolve())
          .resume();
      });
  };
  const overGrpc = async (): Promise<void> => {
    const client = new Client(gateway.grpcAddress, credentials.createInsecure());
    const identity = (bytes: Buffer): Buffer => bytes;
    const encoded = (type: string, fields: object): Buffer =>
      Buffer.from(contract.lookupType(`switchyard.v1.${type}`).encode(fields).finish());
    /** Of each method: one that is right, and one that names nothing that is here. */
    const [here, nowhere] = [
      { corpus: 'animals', text: TEXT },
      { corpus: 'nowhere', text: TEXT },
    ];
    const rightOf: Readonly<Record<string, readonly Buffer[]>> = {
      Search: [encoded('SearchRequest', here), encoded('SearchRequest', nowhere)],
      BatchSearch: [
        encoded('BatchSearchRequest', { requests: [here, { ...here, top_k: 2 }] }),
        encoded('BatchSearchRequest', { requests: [here, nowhere] }),
      ],
      Embed: [
        encoded('EmbedRequest', { model: 'words@1', text: TEXT, input_role: 1 }),
        encoded('EmbedRequest', { model: 'nobody@1', text: TEXT, input_role: 1 }),
      ],
    };
    const messagesOf = (method: string): readonly Buffer[] => {
      const messages = rightOf[method] ?? [];
      const [valid = Buffer.alloc(0)] = messages;
      return [
        ...messages,
        valid.subarray(0, valid.length - 3),
        Buffer.concat([valid, Buffer.from([0xfa, 0x01, MARKER.length]), Buffer.from(MARKER)]),
        Buffer.from(TEXT),
      ];
    };
    for (const method of ['Search', 'BatchSearch', 'Embed'])
      for (const headers of headerSets.slice(0, 8))
        for (const message of messagesOf(method)) {
          const metadata = new Metadata();
          if (headers.authorization !== undefined) metadata.set('authorization', headers.authorization);
          await new Promise<void>((resolve) => {
            const path = `/switchyard.v1.SearchService/${method}`;
            const options = { deadline: Date.now() + 60_000 };
            client.makeUnaryRequest(path, identity, identity, message, metadata, options, (error) => {
              if (error === null) answered.add(method);
              else {
                const { details, metadata: trailers } = error as ServiceError;
                const status = trailers
                  .get('grpc-status-details-bin')
                  .map((bytes) => bytes.toString('latin1'));
                answers.push(`${details} ${status.join(' ')}`);
              }
              resolve();
            });
          });
        }
    client.close();
  };

  await overHttp();
  await overGrpc();
  t.same([...answered].sort(), ['BatchSearch', 'Embed', 'Search'], 'each method was sent what it takes');
  gateway.service.failure = new Error('the engine says something of its own');
  await overHttp();
  await overGrpc();
  t.ok(reasons.size >= 12, `refused for ${[...reasons].sort().join(', ')}`);
  t.ok(gateway.logged.length > 100, `${gateway.logged.length} lines were logged`);
  for (const forbidden of FORBIDDEN) {
    t.same(
      gateway.logged.filter((line) => line.includes(forbidden)),
      [],
      'no line of the log has it',
    );
    // A client is told the names that it sent (an unknown field, a corpus), never a text or a key.
    t.same(
      answers.filter((answer) => answer.includes(forbidden)),
      [],
      'no error has it',
    );
  }
});
