import { cp, realpath, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { type Gateway, startGateway } from '../../src/gateway/gateway.js';
import { Engines } from '../../src/gateway/wiring/engines.js';
import { withOtherProbes } from '../fixtures/model.js';
import { silentLog } from '../fixtures/postgres.js';
import { keepSearching, routeOf, search, send, urlOf } from './http.js';
import { switchyardWith } from './processes.js';
import { AUTHOR, CORPUS, makeYard, sleep, until, type Yard } from './yard.js';

/** Something a gateway reads that a test takes away and puts back. */
class Taken {
  readonly #place: string;

  constructor(place: string) {
    this.#place = place;
  }

  /** Something in its place. */
  replace(): Promise<void> {
    return cp(`${this.#place}.taken`, this.#place, { recursive: true });
  }

  remove(): Promise<void> {
    return rm(this.#place, { recursive: true });
  }

  take(): Promise<void> {
    return rename(this.#place, `${this.#place}.taken`);
  }

  putBack(): Promise<void> {
    return rename(`${this.#place}.taken`, this.#place);
  }
}

/** What was linked to becomes a folder with copies of `entries`: a link out of it would be refused. */
async function copied(link: string, entries: readonly string[]): Promise<readonly Taken[]> {
  const real = await realpath(link);
  await rm(link);
  for (const entry of entries) await cp(path.join(real, entry), path.join(link, entry), { recursive: true });
  return entries.map((entry) => new Taken(path.join(link, entry)));
}

/** State and reason of v1 and v2 by `/v1/status`, and the states by `/metrics`. */
async function reported(gateway: Gateway): Promise<Readonly<Record<string, string>>> {
  const admin = urlOf(gateway.addresses.adminHttp);
  const metrics = await (await fetch(`${admin}/metrics`)).text();
  const { targets } = (await send(`${admin}/v1/status`, 'GET')).body as {
    targets: { version: string; state: string; error: { reason: string } | null }[];
  };
  return Object.fromEntries(
    targets.map(({ version, state, error }) => {
      const line = new RegExp(`^switchyard_targets\\{.*version="${version}".*state="(\\w+)"\\} 1$`, 'm');
      return [version, `${state} ${line.exec(metrics)?.[1]} ${error?.reason ?? 'well'}`];
    }),
  );
}

/** Provider and state of each encoder by `/metrics`, by fingerprint. */
async function encoderStates(gateway: Gateway): Promise<Readonly<Record<string, string>>> {
  const metrics = await (await fetch(`${urlOf(gateway.addresses.adminHttp)}/metrics`)).text();
  const found = metrics.matchAll(
    /^switchyard_encoder_info\{.*fingerprint="(\w+)",provider="(\w+)",state="(\w+)"\} 1$/gm,
  );
  return Object.fromEntries(
    [...found].map(([, fingerprint, provider, state]) => [fingerprint, `${provider} ${state}`]),
  );
}

const says = (gateway: Gateway, version: string, what: string) =>
  until(`${version} is reported ${what}`, async () => (await reported(gateway))[version] === what, 240_000);

const READY = 'ready ready well';

async function shadowedYard(t: Parameters<typeof makeYard>[0]): Promise<Yard> {
  const yard = await makeYard(t);
  const target = { build: null, tier: 'ssd' } as const;
  await yard.registry.routes.change({
    corpus: CORPUS,
    targets: [
      { ...target, version: 'v1', role: 'active', weightBps: 10_000, mirrorBps: 0 },
      { ...target, version: 'v2', role: 'shadow', weightBps: 0, mirrorBps: 10_000 },
    ],
    expectedRevision: 1,
    ...AUTHOR,
  });
  return yard;
}

t.test('what fails is reported as it is, and heals by itself', async (t) => {
  const yard = await shadowedYard(t);
  const fingerprints = [yard.fp16, yard.int8].map(({ manifest }) => manifest.fingerprint);
  const [modelOfV1, modelOfV2] = (await copied(path.join(yard.varDir, 'models'), fingerprints)) as [
    Taken,
    Taken,
  ];
  const bundles = new Taken(path.join(yard.varDir, 'bundles', CORPUS));
  await modelOfV2.take();
  const config = yard.config();
  const engines = new Engines(config, silentLog);
  const gateway = await startGateway(config, silentLog, engines);
  t.teardown(() => gateway.close());
  const http = urlOf(gateway.addresses.http);
  const admin = urlOf(gateway.addresses.adminHttp);
  const replica = async () => {
    const [found] = (await routeOf(admin, CORPUS)).replicas;
    if (found === undefined) throw new Error('the gateway is no replica of its own route');
    return found;
  };
  const modelOfShadow = async () =>
    (await send(`${admin}/v1/models/${yard.int8.manifest.fingerprint}`, 'GET')).body;
  const shadowPid = (): number => {
    const state = engines.processes.indexes[0]?.state;
    if (state?.kind !== 'ready') throw new Error(`the index process is ${state?.kind}`);
    return state.pid;
  };

  await t.test('a shadow whose encoder cannot start, until its model is there', async (t) => {
    await says(gateway, 'v2', 'failed failed UNKNOWN_MODEL');
    await until('its heartbeat says so', async () =>
      /^docs\/v2: UNKNOWN_MODEL/.test((await replica()).last_error ?? ''),
    );
    t.equal((await search(http)).status, 200);
    t.match(await encoderStates(gateway), { [yard.int8.manifest.fingerprint]: 'none failed' });
    const failure = `UNKNOWN_MODEL: `;
    t.match(await modelOfShadow(), { provider: 'failed', encoder_failure: new RegExp(`^${failure}`) });
    const list = ['model', 'list', '--admin-port', String(gateway.addresses.adminHttp.port)];
    t.match((await switchyardWith({}, yard.varDir, ...list)).stdout, `int8: ${failure}`);

    // As long as it is tried, no look at the metrics finds it in another state: alerts wait for minutes.
    await modelOfV2.replace();
    await withOtherProbes({
      ...yard.int8,
      folder: path.join(yard.varDir, 'models', fingerprints[1] as string),
    });
    let [last, tries] = ['', 0];
    await until(
      'it was tried three times',
      async () => {
        const [found, encoders] = [(await reported(gateway)).v2 ?? '', await encoderStates(gateway)];
        // CORRUPT_MODEL: it was looked at while its files were put there.
        t.match(found, /^(loading|failed) failed (UNKNOWN_MODEL|CORRUPT_MODEL|PROBE_MISMATCH)$/);
        t.equal(encoders[yard.int8.manifest.fingerprint], 'none failed');
        if (found.startsWith('loading') && last.startsWith('failed')) tries++;
        last = found;
        await sleep(40);
        return tries >= 3 && found.endsWith('PROBE_MISMATCH');
      },
      120_000,
    );
    await modelOfV2.remove();
    await modelOfV2.putBack();
    await says(gateway, 'v2', READY);
    t.match(await encoderStates(gateway), { [yard.int8.manifest.fingerprint]: 'cpu ready' });
    t.match(await modelOfShadow(), { provider: 'cpu', encoder_failure: null });
    await until('its heartbeat is well', async () => (await replica()).last_error === null);
  });

  await t.test('a shadow whose process is killed again and again', async (t) => {
    const load = keepSearching(http);
    for (let kills = 1; kills <= 2; kills++) {
      process.kill(shadowPid(), 'SIGKILL');
      await says(gateway, 'v2', 'failed failed INDEX_UNAVAILABLE');
      await says(gateway, 'v2', READY);
      t.equal(engines.processes.counters.restarts, kills);
    }
    t.same((await load.stop()).refused, []);
  });

  await t.test('a shadow whose process gave up, until its bundle is there again', async (t) => {
    const load = keepSearching(http);
    const pid = shadowPid();
    await bundles.take();
    process.kill(pid, 'SIGKILL');
    await until('it gave up', async () => engines.processes.indexes[0]?.state.kind === 'failed', 60_000);
    await says(gateway, 'v2', 'failed failed INDEX_UNAVAILABLE');
    await bundles.putBack();
    await says(gateway, 'v2', READY);
    t.same((await load.stop()).refused, []);
    t.same((await reported(gateway)).v1, READY, 'what is open needs no folder');
  });

  await t.test('the encoder of the only target with weight gave up, until its model is there', async (t) => {
    t.same((await replica()).missing_builds, []);
    const encoder = engines
      .encoders()
      .find(({ model }) => model.fingerprint === yard.fp16.manifest.fingerprint);
    if (encoder?.state.kind !== 'ready') throw new Error(`the encoder is ${encoder?.state.kind}`);
    await modelOfV1.take();
    process.kill(encoder.state.pid, 'SIGKILL');
    await says(gateway, 'v1', 'failed failed UNKNOWN_MODEL');
    const { build } = (await routeOf(admin, CORPUS)).targets.find(({ version }) => version === 'v1') ?? {};
    await until('route show says so', async () => (await replica()).missing_builds.includes(build ?? ''));
    t.equal((await fetch(`${http}/readyz`)).status, 503);
    t.match(await search(http), { status: 503, body: { reason: 'ENCODER_UNAVAILABLE' } });
    await modelOfV1.putBack();
    await says(gateway, 'v1', READY);
    await until('route show says so', async () => (await replica()).missing_builds.length === 0);
    t.equal((await fetch(`${http}/readyz`)).status, 200);
    t.equal((await search(http)).status, 200);
  });
});
