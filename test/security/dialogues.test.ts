import { constants } from 'node:http2';
import t from 'tap';
import { startGateway } from '../gateway/harness.js';
import { until } from '../process/wait.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from './keys.js';
import { Http2Client, type Said } from './unread-clients.js';

const REFLECTION = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
const PLACES = 64;
/** list_services: ''. */
const LIST = Buffer.from([0, 0, 0, 0, 2, 0x3a, 0]);
/** The smallest request there is. */
const EMPTY = Buffer.alloc(5);

t.test('reflection, over whose streams more than one request may come', async (t) => {
  const key = makeKey();
  const gateway = await startGateway({ listen: KEYED_LISTENERS, keys: ringOf([key]) });
  t.teardown(() => gateway.close());
  const connectTo = (windowBytes: number): Http2Client => {
    const client = new Http2Client(`http://${gateway.grpcAddress}`, windowBytes);
    t.teardown(() => client.session.destroy());
    return client;
  };
  const ask = (
    client: Http2Client,
    body = LIST,
    token: string | null = key.token,
  ): Said & { isAnswered: boolean } => {
    const headers = token === null ? {} : bearer(token);
    const asked = Object.assign(client.call(body, REFLECTION, false, headers), { isAnswered: false });
    asked.stream.on('data', () => {
      asked.isAnswered = true;
    });
    return asked;
  };
  const isCutOff = ({ stream }: Said): boolean =>
    stream.closed && stream.rstCode === constants.NGHTTP2_ENHANCE_YOUR_CALM;

  await t.test('has so many streams and no more, of which strangers take none', async (t) => {
    const client = connectTo(65_536);
    const strangers = Array.from({ length: 2 * PLACES }, () => ask(client, LIST, null));
    await until('strangers are told', () =>
      strangers.every(({ headers }) => headers['grpc-status'] === '16'),
    );
    const open = Array.from({ length: PLACES }, () => ask(client));
    await until('all are answered', () => open.every(({ isAnswered }) => isAnswered));
    const more = ask(connectTo(65_536));
    await until('one more is not', () => isCutOff(more));
    t.notOk(more.isAnswered);
    open[0]?.stream.close(constants.NGHTTP2_CANCEL);
    let again = ask(client);
    await until('there is room again', () => {
      if (isCutOff(again)) again = ask(client);
      return again.isAnswered;
    });
    for (const { stream } of [...open, again]) stream.close(constants.NGHTTP2_CANCEL);
  });

  await t.test('takes few requests together, and few while none of their answers is read', async (t) => {
    const together = ask(connectTo(65_536), Buffer.concat(Array.from({ length: 1_000 }, () => EMPTY)));
    await until('it is cut off', () => isCutOff(together));
    const deaf = ask(connectTo(0), LIST);
    let sent = 0;
    await until('it is cut off', () => {
      if (!deaf.stream.closed) {
        deaf.stream.write(Buffer.concat(Array.from({ length: 10 }, () => EMPTY)));
        sent += 10;
      }
      return isCutOff(deaf);
    });
    t.ok(sent > 100, `${sent} requests`);
  });

  await t.test('says why it refuses, however much comes with the first message', async (t) => {
    const client = connectTo(65_536);
    const long = Buffer.concat([Buffer.from([0, 0, 0, 0x13, 0x88]), Buffer.alloc(5_000)]);
    const asked = client.call(long, `${REFLECTION}Nope`, false, bearer(key.token));
    await until('it is refused', () => asked.stream.closed || asked.headers['grpc-status'] !== undefined);
    t.equal(asked.headers['grpc-status'], '12');
    asked.stream.close(constants.NGHTTP2_CANCEL);
  });

  await t.test('answers who reads as often as is asked', async (t) => {
    const host = Buffer.alloc(100, 'x');
    const request = Buffer.concat([Buffer.from([0, 0, 0, 0, host.length + 2, 0x3a, host.length]), host]);
    const { stream } = connectTo(65_536).call(request, REFLECTION, false, bearer(key.token));
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    let before = 0;
    for (let asked = 1; asked < 60; asked++) {
      await until('it is answered', () => bytes > before);
      before = bytes;
      stream.write(request);
    }
    t.notOk(stream.closed);
    stream.close(constants.NGHTTP2_CANCEL);
  });
});
