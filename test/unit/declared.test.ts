import t from 'tap';
import { OPERATIONS, OWN_FAILURES, PROTOCOLS } from '../../src/gateway/requests.js';
import { faceMetrics } from '../../src/gateway/wiring/metrics.js';
import { Metrics } from '../../src/telemetry/metrics.js';

async function scraped(metrics: Metrics): Promise<ReadonlyMap<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const end = line.lastIndexOf(' ');
      return [line.slice(0, end), Number(line.slice(end + 1))];
    }),
  );
}

t.test('what alerts divide by is shown at nought before the first request', async (t) => {
  const metrics = new Metrics();
  t.teardown(() => metrics.close());
  const faces = faceMetrics(metrics);
  const requests = (rpc: string, protocol: string, reason: string): string =>
    `switchyard_requests_total{rpc="${rpc}",protocol="${protocol}",reason="${reason}"}`;
  const before = await scraped(metrics);
  for (const reason of ['OK', ...OWN_FAILURES])
    for (const protocol of PROTOCOLS) {
      for (const rpc of OPERATIONS) t.equal(before.get(requests(rpc, protocol, reason)), 0);
      t.equal(before.get(`switchyard_batch_items_total{protocol="${protocol}",reason="${reason}"}`), 0);
    }
  t.equal(before.get(requests('search', 'grpc', 'UNKNOWN_CORPUS')), undefined, 'and nothing that clients do');
  faces.requestFinished('grpc', 'search', 'OK', 2, 'bulk');
  const after = await scraped(metrics);
  t.equal(after.get(requests('search', 'grpc', 'OK')), 1);
  const duration = (priority: string): string =>
    `switchyard_rpc_duration_seconds_count{rpc="search",protocol="grpc",priority="${priority}"}`;
  t.same([after.get(duration('live')), after.get(duration('bulk'))], [0, 1]);
});

t.test('mirrors of which none is ever compared have a share of nought', async (t) => {
  const metrics = new Metrics();
  t.teardown(() => metrics.close());
  metrics.mirrors.add('docs', 'v2', 'offered');
  metrics.mirrors.add('docs', 'v2', 'deadline');
  const compared = 'switchyard_mirrors_total{corpus="docs",version="v2",outcome="compared"}';
  t.equal((await scraped(metrics)).get(compared), 0);
  metrics.mirrors.add('docs', 'v2', 'compared');
  t.equal((await scraped(metrics)).get(compared), 1);
});

t.test('a target that is held has its requests at nought, and none once it is gone', async (t) => {
  const metrics = new Metrics();
  t.teardown(() => metrics.close());
  let held = [{ corpus: 'docs', version: 'v1', build: 'aaaa' }];
  metrics.declareTargets(() => held);
  const series = 'switchyard_target_requests_total{corpus="docs",version="v1",build="aaaa",kind="split"}';
  t.equal((await scraped(metrics)).get(series), 0);
  metrics.targetRequests.add('docs', 'v1', 'aaaa', 'split');
  t.equal((await scraped(metrics)).get(series), 1);
  held = [];
  metrics.forgetTargets(() => false);
  t.equal((await scraped(metrics)).get(series), undefined);
});
