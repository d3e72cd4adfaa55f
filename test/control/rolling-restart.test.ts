import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import t from 'tap';
import { freePort } from '../../bench/rig/redis.js';
import { contract } from '../gateway/harness.js';
import { type GatewayProcess, startGatewayProcess } from './processes.js';
import { CORPUS, makeYard, sleep, until } from './yard.js';

const CALLERS = 6;
/** Between two calls of a caller, so that the load is one of many small requests and not a full processor. */
const PAUSE_MS = 20;

interface Failure {
  readonly code: number;
  readonly details: string;
}

/**
 * One channel over both addresses, balanced by the client as gRPC does it by itself. There is no retry policy: only what
 * never left the client, since its connection was told to end in that moment, is sent on another one.
 */
function balancedClient(ports: readonly number[]): Client {
  const serviceConfig = { loadBalancingConfig: [{ round_robin: {} }] };
  return new Client(
    `ipv4:${ports.map((port) => `127.0.0.1:${port}`).join(',')}`,
    credentials.createInsecure(),
    {
      'grpc.service_config': JSON.stringify(serviceConfig),
      'grpc.use_local_subchannel_pool': 1,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 500,
    },
  );
}

async function served(gateway: GatewayProcess): Promise<number> {
  const text = await (await fetch(`${gateway.admin}/metrics`)).text();
  const [, count] =
    /^switchyard_requests_total\{rpc="search",protocol="grpc",reason="OK"\} (\d+)/m.exec(text) ?? [];
  return Number(count ?? 0);
}

t.test('two gateways are restarted one after the other and no request fails', async (t) => {
  const yard = await makeYard(t);
  const ports = [await freePort(), await freePort()];
  const start = (port: number): Promise<GatewayProcess> =>
    startGatewayProcess(t, yard.varDir, {
      SWITCHYARD_LISTEN__GRPC__PORT: String(port),
      SWITCHYARD_SHUTDOWN__LAME_DUCK_MS: '300',
      SWITCHYARD_SHUTDOWN__DRAIN_MS: '20000',
    });
  const gateways = await Promise.all(ports.map(start));

  const client = balancedClient(ports);
  const message = Buffer.from(
    contract.lookupType('switchyard.v1.SearchRequest').encode({ corpus: CORPUS, text: 'a bird' }).finish(),
  );
  const identity = (bytes: Buffer): Buffer => bytes;
  const failures: Failure[] = [];
  let answered = 0;
  let isOver = false;
  const search = (): Promise<void> =>
    new Promise((resolve) => {
      client.makeUnaryRequest(
        '/switchyard.v1.SearchService/Search',
        identity,
        identity,
        message,
        new Metadata(),
        { deadline: Date.now() + 60_000 },
        (error: ServiceError | null) => {
          if (error === null) answered++;
          else failures.push({ code: error.code, details: error.details });
          resolve();
        },
      );
    });
  const callers = Array.from({ length: CALLERS }, async () => {
    while (!isOver) {
      await search();
      await sleep(PAUSE_MS);
    }
  });
  const bothServe = async (): Promise<void> => {
    const before = await Promise.all(gateways.map(served));
    await until(
      'both take requests',
      async () => {
        const now = await Promise.all(gateways.map(served));
        return now.every((count, at) => count > (before[at] ?? 0));
      },
      60_000,
    );
  };

  await bothServe();
  for (const [at, port] of ports.entries()) {
    t.equal(await gateways[at]?.stop(), 0);
    const before = answered;
    await until('the other one goes on', async () => answered > before + 10, 60_000);
    gateways[at] = await start(port);
    await bothServe();
  }
  isOver = true;
  await Promise.all(callers);
  client.close();
  t.same(failures, [], 'not one request failed');
  t.ok(answered > 100, `${answered} were answered`);
});
