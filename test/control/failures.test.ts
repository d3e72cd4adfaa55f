import { pathToFileURL } from 'node:url';
import type { Worker } from 'node:worker_threads';
import { pino } from 'pino';
import t from 'tap';
import type { Encoder } from '../../src/encoder/encoder.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { Engines } from '../../src/gateway/wiring/engines.js';
import type { SearchIndex } from '../../src/index/search-index.js';
import type { ModelSpec, TargetSpec } from '../../src/router/targets.js';
import { type Digest, digestPrefix, type Fingerprint, modelRef } from '../../src/vocabulary.js';
import { clientsOf } from '../gateway/harness.js';
import { anotherBuild } from '../migration/another-build.js';
import { search, send, urlOf } from './http.js';
import { AUTHOR, builtBundle, CORPUS, makeYard, until, type Yard } from './yard.js';

const TEXT = 'an animal with okapi-marker stripes';

/** Real engines of which some search the real index of the other version, which is of another model. */
class CrossedEngines extends Engines {
  /** Builds whose vectors go to the other version's index. */
  readonly crossed = new Set<Digest>();
  /** What every search throws. */
  failure: Error | null = null;
  /** The default target of each version, by the version that is crossed with it. */
  readonly others = new Map<string, TargetSpec>();
  /** Whose vectors encoders say that theirs are; null: their own. */
  spoofed: Fingerprint | null = null;

  override async openEncoder(spec: ModelSpec): Promise<Encoder> {
    const own = await super.openEncoder(spec);
    return {
      model: own.model,
      get state() {
        return own.state;
      },
      ready: () => own.ready(),
      encode: async (request) => {
        const batch = await own.encode(request);
        return this.spoofed === null ? batch : { ...batch, fingerprint: this.spoofed };
      },
      close: () => own.close(),
    };
  }

  override async openTarget(spec: TargetSpec): Promise<SearchIndex> {
    const own = await super.openTarget(spec);
    const other = await super.openTarget(this.others.get(spec.version) as TargetSpec);
    return {
      bundle: own.bundle,
      get unavailable() {
        return own.unavailable;
      },
      search: async (query) => {
        if (this.failure !== null) throw this.failure;
        return (this.crossed.has(spec.build) ? other : own).search(query);
      },
      close: async () => {
        await own.close();
        await other.close();
      },
    };
  }
}

async function targetOf({ config }: Yard, version: string): Promise<TargetSpec> {
  const bundle = await builtBundle(config().bundlesDir, version);
  const { model } = bundle.manifest;
  return {
    corpus: CORPUS,
    version,
    build: bundle.digest,
    fingerprint: model.fingerprint,
    modelRef: modelRef(model),
    tier: 'ssd',
    bundleUri: pathToFileURL(bundle.folder).href,
    isolation: 'shared',
  };
}

/** Threads that get no search and so answer none, until they are let go. */
function hangThreads(threads: readonly Worker[]): { letGo(): void } {
  const undo = threads.map((thread) => {
    const post = thread.postMessage.bind(thread);
    const held: unknown[] = [];
    thread.postMessage = (message: { readonly kind?: string }) => {
      if (message.kind === 'search') held.push(message);
      else post(message);
    };
    return () => {
      thread.postMessage = post;
      for (const message of held) post(message);
    };
  });
  return {
    letGo: () => {
      for (const one of undo) one();
    },
  };
}

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

t.test('a failure is counted and logged where it happens, whatever became of its request', async (t) => {
  const yard = await makeYard(t);
  const config = yard.config();
  const [v1, v2] = [await targetOf(yard, 'v1'), await targetOf(yard, 'v2')];
  const second = await anotherBuild(yard, 'v1', { kind: 'shuffled', seed: 1 });
  const of = { role: 'active', weightBps: 0, tier: 'ssd', mirrorBps: 0 } as const;
  await yard.registry.routes.change({
    corpus: CORPUS,
    targets: [
      { ...of, version: 'v1', build: v1.build, weightBps: 10_000 },
      { ...of, version: 'v1', build: second, role: 'draining' },
      { ...of, version: 'v2', build: v2.build, role: 'shadow', mirrorBps: 10_000 },
    ],
    expectedRevision: 1,
    ...AUTHOR,
  });
  const logged: string[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => logged.push(line) });
  // Nothing is kept away from traffic, however often it fails.
  const { ejection } = config;
  const patient = {
    ...config,
    ejection: { ...ejection, breaker: { ...ejection.breaker, failuresToOpen: 1e6 } },
  };
  const threads: Worker[] = [];
  const onWorker = (worker: Worker): void => void threads.push(worker);
  process.on('worker', onWorker);
  t.teardown(() => process.off('worker', onWorker));
  const engines = new CrossedEngines(patient, log);
  engines.others.set('v1', v2).set('v2', v1);
  const gateway = await startGateway(patient, log, engines);
  t.teardown(() => gateway.close());
  const { addresses } = gateway;
  const http = urlOf(addresses.http);
  const { client, call } = clientsOf(`127.0.0.1:${addresses.grpc.port}`, http);
  t.teardown(() => client.close());

  const text = async (): Promise<string> => (await fetch(`${urlOf(addresses.adminHttp)}/metrics`)).text();
  const scrape = async (series: string): Promise<number> => {
    const line = (await text()).split('\n').find((one) => one.startsWith(`${series} `));
    return Number(line?.slice(series.length + 1) ?? Number.NaN);
  };
  const refused = (kind: string): Promise<number> =>
    scrape(`switchyard_mispairings_refused_total{kind="${kind}"}`);
  const failures = (build: Digest, version: string, kind: string, reason = 'FINGERPRINT_MISMATCH') =>
    scrape(
      `switchyard_target_failures_total{corpus="${CORPUS}",version="${version}",build="${digestPrefix(build)}",kind="${kind}",reason="${reason}"}`,
    );
  const finished = (rpc: string, protocol: string, reason: string): Promise<number> =>
    scrape(`switchyard_requests_total{rpc="${rpc}",protocol="${protocol}",reason="${reason}"}`);
  const served = (build: Digest, version: string): Promise<number> =>
    scrape(
      `switchyard_target_requests_total{corpus="${CORPUS}",version="${version}",build="${digestPrefix(build)}",kind="split"}`,
    );
  const durations = async (rpc: string, protocol: string): Promise<readonly number[]> =>
    Promise.all(
      ['live', 'bulk'].map((priority) =>
        scrape(
          `switchyard_rpc_duration_seconds_count{rpc="${rpc}",protocol="${protocol}",priority="${priority}"}`,
        ),
      ),
    );
  const items = (protocol: string, reason: string): Promise<number> =>
    scrape(`switchyard_batch_items_total{protocol="${protocol}",reason="${reason}"}`);
  const lines = (msg: string): Line[] =>
    logged.map((line) => JSON.parse(line) as Line).filter((line) => line.msg === msg);
  const item = { corpus: CORPUS, text: TEXT, top_k: 3, bypass_cache: true };
  const batch = () => send(`${http}/v1/search:batch`, 'POST', { requests: [item, item, item] });

  // Its first query, when it is loaded, must not meet what fails below.
  await until('the shadow is loaded', async () =>
    /isolation="isolated",state="ready"} 1\n/.test(await text()),
  );

  t.test('an increase is seen from nought', async (t) => {
    for (const kind of ['split', 'pinned', 'mirror', 'embed']) t.equal(await refused(kind), 0, kind);
    for (const protocol of ['grpc', 'http'])
      for (const reason of ['OK', 'INTERNAL', 'FINGERPRINT_MISMATCH']) {
        for (const rpc of ['search', 'batch_search', 'embed'])
          t.equal(await finished(rpc, protocol, reason), 0, `${protocol} ${rpc} ${reason}`);
        t.equal(await items(protocol, reason), 0, `items over ${protocol} ${reason}`);
      }
    for (const [build, version] of [
      [v1.build, 'v1'],
      [second, 'v1'],
      [v2.build, 'v2'],
    ] as const)
      t.equal(await served(build, version), 0, `requests of ${version}`);
  });

  t.test('of a search that another target of the model answers', async (t) => {
    engines.crossed.add(v1.build);
    const { status, body } = await search(http, { text: TEXT });
    t.equal(status, 200, JSON.stringify(body));
    t.match(body, { served_by: { build: digestPrefix(second) } });
    t.same([await refused('split'), await failures(v1.build, 'v1', 'split')], [1, 1]);
    t.notOk((await finished('search', 'http', 'FINGERPRINT_MISMATCH')) > 0, 'it ended well');
    t.equal(await finished('search', 'http', 'OK'), 1);
    const [line] = lines('a wrong pairing was refused: nothing of it was served');
    const [mine, other] = [v1.fingerprint, v2.fingerprint];
    t.match(line, { level: 50, reason: 'FINGERPRINT_MISMATCH', version: 'v1', kind: 'split' });
    t.ok(
      String(line?.mismatch).includes(mine) && String(line?.mismatch).includes(other),
      'it names both models',
    );
  });

  t.test('of a search that is refused', async (t) => {
    engines.crossed.add(second);
    const { status, body } = await search(http, { text: TEXT });
    t.same([status, body.reason], [409, 'FINGERPRINT_MISMATCH']);
    t.same([await refused('split'), await failures(second, 'v1', 'split')], [3, 1], 'at both targets');
    t.equal(await finished('search', 'http', 'FINGERPRINT_MISMATCH'), 1);
    await search(http, { text: TEXT, corpus_version: 'v1' });
    t.equal(await refused('pinned'), 2);
  });

  t.test('of the items of a batch, which is answered', async (t) => {
    const before = await refused('split');
    const { status, body } = await batch();
    t.equal(status, 200);
    t.match(body.items, Array(3).fill({ error: { reason: 'FINGERPRINT_MISMATCH' } }));
    t.equal(await items('http', 'FINGERPRINT_MISMATCH'), 3);
    t.equal(await refused('split'), before + 6, 'each item at both targets');
    t.equal(await finished('batch_search', 'http', 'OK'), 1);

    await call('BatchSearch', { requests: [item, { ...item, top_k: 1_000_000 }] });
    t.equal(await items('grpc', 'FINGERPRINT_MISMATCH'), 1);
    t.equal(await items('grpc', 'INVALID_ARGUMENT'), 1, 'what was never searched counts too');
  });

  t.test('of items that fail by a fault of the program, whose cause is logged once', async (t) => {
    engines.failure = new Error('the disk sang');
    const { body } = await batch();
    engines.failure = null;
    t.match(body.items, Array(3).fill({ error: { reason: 'INTERNAL' } }));
    t.equal(await items('http', 'INTERNAL'), 3);
    t.equal(await failures(v1.build, 'v1', 'split', 'INTERNAL'), 3);
    t.notOk(JSON.stringify(body).includes('sang'), 'its client is not told');
    const said = lines('items of a batch failed');
    t.equal(said.length, 1);
    t.match(said, [
      {
        level: 50,
        operation: 'http batch_search',
        reason: 'INTERNAL',
        items: 3,
        err: { message: 'the disk sang' },
      },
    ]);
  });

  t.test('of an embedding, which no target has to do with', async (t) => {
    engines.spoofed = v2.fingerprint;
    const { status, body } = await send(`${http}/v1/embed`, 'POST', {
      model: v1.modelRef,
      text: `${TEXT} over HTTP`,
    });
    const { reason } = await call('Embed', { model: v1.modelRef, text: `${TEXT} over gRPC` });
    engines.spoofed = null;
    t.same([status, body.reason, reason], [409, 'FINGERPRINT_MISMATCH', 'FINGERPRINT_MISMATCH']);
    t.equal(await refused('embed'), 2);
    const line = lines('a wrong pairing was refused: nothing of it was served').at(-1);
    t.match(line, { level: 50, reason: 'FINGERPRINT_MISMATCH', kind: 'embed', model: v1.modelRef });
    t.ok(
      [v1.fingerprint, v2.fingerprint].every((one) => String(line?.mismatch).includes(one)),
      'it names both models',
    );
  });

  t.test('of a search whose thread hangs', async (t) => {
    engines.crossed.clear();
    const held = hangThreads(threads);
    const { status } = await search(http, { text: TEXT }, { 'x-request-timeout-ms': '100' });
    t.equal(status, 504);
    await until(
      'its target is told',
      async () => (await failures(v1.build, 'v1', 'split', 'DEADLINE_EXCEEDED')) === 1,
    );
    held.letGo();
  });

  t.test('of a mirror', async (t) => {
    engines.crossed.clear();
    engines.crossed.add(v2.build);
    await until('the shadow refuses a mirror', async () => {
      const { status } = await search(http, { text: TEXT });
      t.equal(status, 200, 'which nobody who is served notices');
      return (await refused('mirror')) > 0;
    });
    t.ok((await failures(v2.build, 'v2', 'mirror')) > 0);
    t.match(lines('a wrong pairing was refused: nothing of it was served').at(-1), {
      version: 'v2',
      kind: 'mirror',
    });
  });

  t.test(
    'and bulk work is told apart from live requests, over both protocols and in every stage',
    async (t) => {
      engines.crossed.clear();
      const bulk = { ...item, priority: 'bulk' };
      const stages = (priority: string): Promise<number> =>
        scrape(`switchyard_request_duration_seconds_count{stage="queue",priority="${priority}"}`);
      const told = async () => ({
        search: await durations('search', 'http'),
        batch: await durations('batch_search', 'grpc'),
        embed: await durations('embed', 'http'),
        stages: [await stages('live'), await stages('bulk')],
      });
      const before = await told();
      await send(`${http}/v1/search`, 'POST', bulk);
      await call('BatchSearch', { requests: [bulk, bulk].map((one) => ({ ...one, priority: 2 })) });
      await call('BatchSearch', { requests: [{ ...bulk, priority: 2 }, item] });
      await send(`${http}/v1/embed`, 'POST', { model: v1.modelRef, text: TEXT, priority: 'bulk' });
      const after = await told();
      const more = (of: keyof typeof after) => after[of].map((count, at) => count - (before[of][at] ?? 0));
      t.same(more('search'), [0, 1]);
      t.same(more('batch'), [1, 1], 'a batch with a live item is a live one');
      t.same(more('embed'), [0, 1]);
      t.same(more('stages'), [1, 4], 'items each by their own');
    },
  );

  t.test('and nothing of the queries is in metrics or log', async (t) => {
    t.equal(await items('http', 'OK'), 0);
    engines.crossed.clear();
    await batch();
    t.equal(await items('http', 'OK'), 3, 'what is answered is counted as such');
    t.notOk((await text()).includes('okapi-marker'));
    t.notOk(logged.some((line) => line.includes('okapi-marker')));
  });
});
