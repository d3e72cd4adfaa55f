import { readFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { startGateway } from '../../src/gateway/gateway.js';
import { silentLog } from '../fixtures/postgres.js';
import { search, send, urlOf } from './http.js';
import { AUTHOR, CORPUS, makeYard, until } from './yard.js';

interface Pair {
  readonly compared: number;
  readonly worst: readonly { readonly query_hash: string; readonly text: string | null }[];
}

t.test('what mirrors found', async (t) => {
  const yard = await makeYard(t);
  await yard.registry.routes.change({
    corpus: CORPUS,
    expectedRevision: 1,
    targets: [
      { version: 'v1', build: null, role: 'active', weightBps: 10_000, tier: 'ssd', mirrorBps: 0 },
      { version: 'v2', build: null, role: 'shadow', weightBps: 0, tier: 'ssd', mirrorBps: 10_000 },
    ],
    ...AUTHOR,
  });
  let hash = '';

  await t.test('is shown per pair, and counted for Prometheus', async (t) => {
    const gateway = await startGateway(yard.config(), silentLog);
    const admin = urlOf(gateway.addresses.adminHttp);
    const comparison = async () => (await send(`${admin}/v1/comparisons/${CORPUS}`, 'GET')).body;
    try {
      t.match(await send(`${admin}/v1/comparisons/nothing`, 'GET'), { status: 404 });
      await until('a comparison with a difference', async () => {
        // Short and odd texts, where the two precisions differ in their last places of a list.
        for (const text of ['wheel', 'zq', 'cold', 'to drink or not', '?!'])
          await search(urlOf(gateway.addresses.http), { text, top_k: 8 });
        const [pair] = (await comparison()).pairs as Pair[];
        return pair !== undefined && pair.compared > 0 && pair.worst.length > 0;
      });
      const view = await comparison();
      t.match(view, {
        corpus: CORPUS,
        gateway_id: gateway.gatewayId,
        noise_floor: [],
        pairs: [
          {
            primary: { version: 'v1', fingerprint: yard.fp16.manifest.fingerprint },
            shadow: { version: 'v2', fingerprint: yard.int8.manifest.fingerprint },
            distributions: { overlap: { min: Number, max: Number }, rbo: { mean: Number } },
            worst: [{ text: null, query_hash: /^[0-9a-f]{32}$/ }],
          },
        ],
      });
      hash = (view.pairs as Pair[])[0]?.worst[0]?.query_hash ?? '';
      const metrics = await (await fetch(`${admin}/metrics`)).text();
      const labels =
        'corpus="docs",kind="candidate",primary="v1",primary_build="[0-9a-f]{16}",shadow="v2",shadow_build="[0-9a-f]{16}"';
      t.match(metrics, /^# TYPE switchyard_comparison_rbo histogram$/m);
      const quantiles = ['min', 'p25', 'median', 'p75', 'max'].flatMap((quantile) => [
        `primary_score_${quantile}`,
        `shadow_score_${quantile}`,
      ]);
      const measured = ['overlap', 'jaccard', 'rbo', 'shadow_underfill', 'service_delta_seconds'];
      for (const name of [...measured, ...quantiles]) {
        const line = (suffix: string, more: string) =>
          Number(
            new RegExp(`^switchyard_comparison_${name}_${suffix}\\{${labels}${more}\\} (\\d+)`, 'm').exec(
              metrics,
            )?.[1],
          );
        t.ok(line('count', '') > 0, name);
        t.equal(line('bucket', ',le="\\+Inf"'), line('count', ''), `${name}: the last bucket holds all`);
      }
      t.match(metrics, /^switchyard_mirrors_total\{corpus="docs",version="v2",outcome="compared"\} \d+$/m);
      t.match(metrics, /^switchyard_replicas_lagging\{corpus="docs"\} 0$/m);
    } finally {
      await gateway.close();
    }
  });

  await t.test('is kept on disk when the gateway ends, without any text', async (t) => {
    const text = await readFile(path.join(yard.varDir, 'comparisons', `${CORPUS}.json`), 'utf8');
    t.match(text, hash);
    t.notMatch(text, /to drink or not/);
  });
});
