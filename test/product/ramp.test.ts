import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Checker } from '../../bench/judge/checker.js';
import { loadConfig } from '../../src/config/load.js';
import type { Encoder } from '../../src/encoder/encoder.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { listModelFolders } from '../../src/encoder/model-folder.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { Engines } from '../../src/gateway/wiring/engines.js';
import type { Bundle } from '../../src/index/manifest.js';
import { readBundle } from '../../src/index/read-bundle.js';
import type { ModelSpec } from '../../src/router/targets.js';
import { createLogger } from '../../src/telemetry/log.js';
import { modelRef } from '../../src/vocabulary.js';
import { wordNetGlosses } from '../fixtures/glosses.js';
import { type GrpcAnswer, searchClient } from '../fixtures/grpc-client.js';
import { shortMiniLmFolder } from '../fixtures/model.js';
import { type RunningGateway, runSwitchyard, serve } from '../fixtures/product.js';

/** Two versions of one corpus whose models both have 384 dimensions: no length gives a wrong pairing away. */
const PRECISIONS = { v1: 'fp16', v2: 'int8' } as const;
const TOP_K = 5;
const QUERY_COUNT = 60;
const CALLERS = 6;
const RAMP_BPS = [0, 100, 1_000, 5_000, 10_000];
/** Of each step of the ramp, however slow the machine is. */
const ANSWERS_PER_STEP = 60;
const TEXT_WORDS_MAX = 14;

const varDir = mkdtempSync(path.join(tmpdir(), 'switchyard-ramp-'));
t.teardown(() => rmSync(varDir, { recursive: true, force: true }));
const run = (...args: string[]) => runSwitchyard(['--var-dir', varDir, '--admin-port', '1', ...args]);
const checker = new Checker(TOP_K);
const builds: Record<string, Bundle> = {};
const models: Record<string, ModelFolder> = {};
let queries: string[] = [];

t.before(async () => {
  // What its models read of them.
  const texts = (await wordNetGlosses(200)).map((text) => text.split(' ').slice(0, TEXT_WORDS_MAX).join(' '));
  queries = texts.slice(0, QUERY_COUNT).map((text) => text.split(';')[0] ?? text);
  const ids = texts.map((_, at) => `g${at}`);
  const file = path.join(varDir, 'glosses.jsonl');
  writeFileSync(file, texts.map((text, at) => `${JSON.stringify({ id: ids[at], text })}\n`).join(''));
  for (const [version, precision] of Object.entries(PRECISIONS)) {
    const { folder, manifest } = await shortMiniLmFolder(precision);
    const { fingerprint } = manifest;
    cpSync(folder, path.join(varDir, 'models', fingerprint), { recursive: true });
    const registered = await run('model', 'register', fingerprint, '--reason', 'a test');
    if (registered.code !== 0) throw new Error(registered.stderr);
    const model = modelRef(manifest);
    const built = await run(
      'corpus',
      'build',
      'glosses',
      file,
      '--model',
      model,
      '--corpus-version',
      version,
      '--json',
    );
    const { build } = JSON.parse(built.stdout) as { build: string };
    builds[version] = await readBundle(path.join(varDir, 'bundles', 'glosses', version, build.slice(0, 16)));
  }
  for (const folder of await listModelFolders(path.join(varDir, 'models')))
    models[folder.manifest.version] = folder;
  for (const [version, precision] of Object.entries(PRECISIONS)) {
    const [bundle, model] = [builds[version], models[`1-${precision}`]];
    if (bundle === undefined || model === undefined) throw new Error(`${version} was not built`);
    await checker.learn({ bundle, model, ids }, queries);
  }
});

interface RouteView {
  readonly revision: number;
}

async function putRoute(
  gateway: RunningGateway,
  v2Bps: number,
): Promise<{ status: number; revision: number; text: string }> {
  const current = (await (await fetch(`${gateway.admin}/v1/routes/glosses`)).json()) as RouteView;
  const target = (version: string, weight: number) => ({
    version,
    weight,
    role: weight === 0 ? 'draining' : 'active',
    tier: 'ssd',
    mirror_bps: 0,
  });
  const targets = [target('v1', 10_000 - v2Bps), ...(v2Bps === 0 ? [] : [target('v2', v2Bps)])];
  const response = await fetch(`${gateway.admin}/v1/routes/glosses`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', 'if-match': `"${current.revision}"` },
    body: JSON.stringify({ targets, reason: `v2 at ${v2Bps}` }),
  });
  const text = await response.text();
  return { status: response.status, revision: (JSON.parse(text) as RouteView).revision, text };
}

/** Until every replica answers with at least this revision. */
async function untilServed(
  clients: readonly ReturnType<typeof searchClient>[],
  revision: number,
): Promise<void> {
  for (const client of clients) {
    for (;;) {
      const { served_by } = await client.search({ corpus: 'glosses', text: queries[0], top_k: TOP_K });
      if (served_by.route_revision >= revision) break;
      await sleep(20);
    }
  }
}

t.test(
  'a ramp from 0 to 100 % under load loses no request, mispairs none, and moves keys one way',
  async (t) => {
    const gateways = [await serve(varDir), await serve(varDir)] as const;
    const clients = gateways.map(({ grpc }) => searchClient(grpc));
    t.teardown(async () => {
      for (const client of clients) client.close();
      for (const gateway of gateways) await gateway.stop();
    });
    const preloaded = await fetch(`${gateways[0].admin}/v1/corpora/glosses/desired-targets`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ version: 'v2', tier: 'ssd', reason: 'before it gets weight' }),
    });
    t.equal(preloaded.status, 200);

    let stop = false;
    const failures: string[] = [];
    const wrong: string[] = [];
    const backwards: string[] = [];
    const versionOfKey = new Map<string, { version: string; revision: number }>();
    const served: Record<string, number> = {};
    const caller = async (number: number): Promise<void> => {
      for (let at = number; !stop; at += CALLERS) {
        const query = queries[at % queries.length] as string;
        const key = `user-${at % 500}`;
        try {
          const answer = await (clients[at % 2] as (typeof clients)[number]).search({
            corpus: 'glosses',
            text: query,
            top_k: TOP_K,
            affinity_key: key,
          });
          if (!checker.check(query, answer)) wrong.push(`${query} → ${answer.served_by.build}`);
          note(key, answer);
        } catch (error) {
          failures.push(String(error));
        }
      }
    };
    const note = (
      key: string,
      { served_by: { corpus_version: version, route_revision: revision } }: GrpcAnswer,
    ): void => {
      served[version] = (served[version] ?? 0) + 1;
      const before = versionOfKey.get(key);
      // v2's share only rises: a key that v2 has in one revision stays with it in every later one.
      if (
        before !== undefined &&
        revision >= before.revision &&
        before.version === 'v2' &&
        version === 'v1'
      ) {
        backwards.push(`${key}: ${before.version}@${before.revision} → ${version}@${revision}`);
      }
      if (before === undefined || revision >= before.revision) versionOfKey.set(key, { version, revision });
    };

    const callers = Array.from({ length: CALLERS }, (_, number) => caller(number));
    for (const bps of RAMP_BPS) {
      let change = await putRoute(gateways[0], bps);
      for (let tries = 0; change.status === 409 && tries < 1_200; tries++) {
        // Loading comes before routing: refused until both replicas have reported v2 ready.
        await sleep(100);
        change = await putRoute(gateways[0], bps);
      }
      t.equal(change.status, 200, `v2 at ${bps} bps${change.status === 200 ? '' : `: ${change.text}`}`);
      await untilServed(clients, change.revision);
      const goal = checker.counts.checked + ANSWERS_PER_STEP;
      while (checker.counts.checked < goal && failures.length === 0) await sleep(5);
    }
    stop = true;
    await Promise.all(callers);

    t.same(failures, [], 'no request failed');
    t.same(wrong, [], 'no answer was of another pairing');
    t.same(backwards, [], 'no key moved back');
    t.equal(checker.counts.mispaired, 0);
    t.ok(
      checker.counts.checked >= RAMP_BPS.length * ANSWERS_PER_STEP,
      `${checker.counts.checked} answers checked, by version ${JSON.stringify(served)}`,
    );
    t.ok((served.v2 ?? 0) > 0 && (served.v1 ?? 0) > 0, 'both versions served');
  },
);

t.test('the checker reports a gateway that pairs one encoder with another index', async (t) => {
  /** Vectors of the other model under this model's name: what a renamed file would do if nothing checked it. */
  class MispairedEngines extends Engines {
    override async openEncoder(spec: ModelSpec): Promise<Encoder> {
      const other = Object.values(models).find(({ manifest }) => manifest.fingerprint !== spec.fingerprint);
      if (other === undefined) throw new Error('there is no other model');
      const claimed = Object.values(models).find(({ manifest }) => manifest.fingerprint === spec.fingerprint);
      if (claimed === undefined) throw new Error('the model is not there');
      const { fingerprint } = other.manifest;
      const encoder = await super.openEncoder({ fingerprint, modelRef: spec.modelRef });
      const mispaired: Encoder = {
        model: claimed.manifest,
        get state() {
          return encoder.state;
        },
        ready: () => encoder.ready(),
        close: () => encoder.close(),
        encode: async (request) => ({ ...(await encoder.encode(request)), fingerprint: spec.fingerprint }),
      };
      return mispaired;
    }
  }
  const config = loadConfig({
    file: null,
    env: {},
    cwd: varDir,
    overrides: {
      var_dir: varDir,
      'listen.http.port': 0,
      'listen.grpc.port': 0,
      'listen.admin_http.port': 0,
      'listen.admin_grpc.port': 0,
    },
  });
  const log = createLogger('silent');
  const gateway = await startGateway(config, log, new MispairedEngines(config, log));
  const { host, port } = gateway.addresses.grpc;
  const client = searchClient(`${host}:${port}`);
  const before = checker.counts.mispaired;
  for (const query of queries) {
    const answer = await client.search({ corpus: 'glosses', text: query, top_k: TOP_K });
    checker.check(query, answer);
  }
  client.close();
  await gateway.close();
  const found = checker.counts.mispaired - before;
  t.ok(found > queries.length / 2, `${found} of ${queries.length} mispaired answers were found`);
});
