import { connect, createServer, type Socket } from 'node:net';
import path from 'node:path';
import t from 'tap';
import type { SwitchyardError } from '../../src/errors.js';
import { encodeSearch, FRAME, PAYLOAD_BYTES_MAX } from '../../src/index/process/protocol.js';
import { SearchServer } from '../../src/index/process/search-server.js';
import { FrameChannel } from '../../src/process/frame-channel.js';
import { expectedOf, FINGERPRINT, temporaryFolder, testCorpus } from '../index/corpus.js';
import { until } from '../process/wait.js';
import { build } from './start.js';

/** Two ends of a real channel. */
async function channelPair(t: Tap): Promise<{ readonly ours: FrameChannel; readonly kinds: number[] }> {
  const kinds: number[] = [];
  const place = path.join(temporaryFolder(t), 's');
  const server = createServer();
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(place, resolve));
  const theirs = connect(place);
  const channel = (socket: Socket, onKind: (kind: number) => void): FrameChannel =>
    new FrameChannel({
      socket,
      payloadBytesMax: PAYLOAD_BYTES_MAX,
      bufferedBytesMax: Number.POSITIVE_INFINITY,
      onFrame: ({ kind }) => onKind(kind),
      onDrain: () => undefined,
      onClosed: () => undefined,
    });
  const reader = channel(theirs, (kind) => void kinds.push(kind));
  const ours = channel(await accepted, () => undefined);
  t.teardown(() => {
    ours.destroy();
    reader.destroy();
    server.close();
  });
  return { ours, kinds };
}

interface Tap {
  teardown(fn: () => void): unknown;
}

t.test('a search that never comes back is a sign of life for a while, and the end then', async (t) => {
  const { ours, kinds } = await channelPair(t);
  const { bundle, options } = await build(temporaryFolder(t), testCorpus(1, 50));
  const gaveUp: SwitchyardError[] = [];
  const config = {
    folder: bundle.folder,
    digest: bundle.digest,
    expected: expectedOf(options),
    workers: 1,
    queueLengthMax: 10,
    niceness: 0,
    aliveEveryMs: 10,
    stuckMsMax: 100,
  };
  // An index whose worker is in an endless native call looks just so from here.
  const stuck = {
    bundle,
    unavailable: null,
    search: () => new Promise<never>(() => undefined),
    close: async () => undefined,
  };
  const server = new SearchServer(stuck, ours, config, (error) => gaveUp.push(error));
  t.teardown(() => server.stop());
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.same(kinds, [], 'no sign of life is owed while no answer is');
  const payload = encodeSearch({
    fingerprint: FINGERPRINT,
    values: new Float32Array(32).fill(1),
    topK: 1,
    lane: 'live',
    remainingMs: 50,
    withDocument: false,
  });
  server.receive({ kind: FRAME.search, id: 1, payload });
  await until('signs of life', () => kinds.length > 3);
  t.same(new Set(kinds), new Set([FRAME.alive]));
  await until('given up', () => gaveUp.length > 0);
  t.match(gaveUp, [{ reason: 'INTERNAL', message: /stuck/ }]);
});
