import t from 'tap';
import { startGateway } from './harness.js';

const TEXT = 'a fish of the okapi-marker-12';

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly requestId: string;
  readonly queryId: string;
  readonly outcome: string;
  readonly durationMs: number;
}

t.test('every request is in the log at level debug, with its ids and without its text', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const lines = (): Line[] => gateway.logged.map((line) => JSON.parse(line) as Line);
  const { body } = await gateway.post(
    '/v1/search',
    { corpus: 'animals', text: TEXT },
    { 'x-request-id': 'mine' },
  );
  await gateway.call('Search', { corpus: 'animals', text: TEXT });
  await gateway.post('/v1/search', { corpus: 'nowhere', text: TEXT }, { 'x-request-id': 'refused' });
  const answered = lines().filter(({ msg }) => msg === 'a request was answered');
  t.match(
    answered.find(({ requestId }) => requestId === 'mine'),
    { outcome: 'OK', queryId: body.query_id, protocol: 'http', operation: 'search', corpusVersion: /./ },
  );
  t.match(
    answered.find(({ requestId }) => requestId === 'refused'),
    { outcome: 'UNKNOWN_CORPUS' },
  );
  t.equal(new Set(answered.map(({ requestId }) => requestId)).size, 3, 'each has an id of its own');
  t.notOk(gateway.logged.some((line) => line.includes('okapi-marker')));
});

t.test('a slow request is a warning, and a flood of them is ten lines a second', async (t) => {
  const gateway = await startGateway({ slowRequestMs: 1 });
  t.teardown(() => gateway.close());
  gateway.service.delayMs = 20;
  const begunAtMs = performance.now();
  await Promise.all(
    Array.from({ length: 60 }, () => gateway.post('/v1/search', { corpus: 'animals', text: TEXT })),
  );
  const seconds = Math.ceil((performance.now() - begunAtMs) / 1_000) + 1;
  const slow = gateway.logged
    .map((line) => JSON.parse(line) as Line)
    .filter(({ msg }) => msg === 'a request was slow');
  t.ok(slow.length > 0 && slow.length <= 10 * seconds, `${slow.length} lines in ${seconds} s`);
  for (const { level, durationMs } of slow) {
    t.equal(level, 40);
    t.ok(durationMs >= 1);
  }
});
