import path from 'node:path';
import type { ListenerSettings } from '../../src/config/config.js';
import { observeAccess } from '../../src/gateway/wiring/access-metrics.js';
import { RouteFeed } from '../../src/gateway/wiring/route-feed.js';
import { packageRoot } from '../../src/package-root.js';
import type { SearchCall, SearchOutcome } from '../../src/router/query.js';
import { Metrics } from '../../src/telemetry/metrics.js';
import { BruteForceService } from '../gateway/brute-force-service.js';
import { adminSources, LOCAL, startGateway } from '../gateway/harness.js';
import { MB, UNREAD_LIMITS } from './unread-clients.js';

const TEXT = Buffer.alloc(MB, 'x').toString('latin1');

/** Answers with documents of a megabyte each. */
class LargeService extends BruteForceService {
  override async search(call: SearchCall): Promise<SearchOutcome> {
    const outcome = await super.search(call);
    if (!call.withDocument) return outcome;
    const document = { title: 'large', text: TEXT, attributes: {} };
    return { ...outcome, hits: outcome.hits.map((hit) => ({ ...hit, document })) };
  }
}

/** Gateways with and without TLS that give large answers, and may hold few: prints where they listen, ends with its parent. */
const certificate = path.join(packageRoot(), 'test', 'fixtures', 'tls', 'server-one');
const tls = { certFile: `${certificate}.crt`, keyFile: `${certificate}.key`, clientCaFile: null };
const secure: ListenerSettings = { ...LOCAL, tls };
const start = async (listener: ListenerSettings) => {
  const metrics = new Metrics();
  const sources = adminSources(new RouteFeed());
  return startGateway({
    service: new LargeService(),
    unread: UNREAD_LIMITS,
    listen: { grpc: listener, http: listener, adminHttp: LOCAL, adminGrpc: listener },
    onConnections: observeAccess(metrics, null).onConnections,
    admin: {
      ...sources,
      views: {
        ...sources.views,
        metrics: async () => ({ contentType: metrics.registry.contentType, text: await metrics.text() }),
      },
    },
  });
};
const ports = await Promise.all(
  [LOCAL, secure].map(async (listener) => {
    const { grpc, http, adminHttp } = (await start(listener)).faces.addresses;
    return { grpc: grpc.port, http: http.port, admin: adminHttp.port };
  }),
);
process.stdout.write(`${JSON.stringify({ plain: ports[0], tls: ports[1] })}\n`);
process.stdin.on('end', () => process.exit(0)).resume();
