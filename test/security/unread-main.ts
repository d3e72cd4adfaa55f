import type { ListenerSettings } from '../../src/config/config.js';
import { observeAccess } from '../../src/gateway/wiring/access-metrics.js';
import { RouteFeed } from '../../src/gateway/wiring/route-feed.js';
import { Metrics } from '../../src/telemetry/metrics.js';
import { SERVER_TLS } from '../fixtures/server-tls.js';
import { adminSources, LOCAL, startGateway } from '../gateway/harness.js';
import { LargeService } from '../gateway/large-service.js';
import { MB, UNREAD_LIMITS } from './unread-clients.js';

/** Of each document. */
const TEXT = 'x'.repeat(MB);

/** Gateways with and without TLS that give large answers, and may hold few: prints where they listen, ends with its parent. */
const secure: ListenerSettings = { ...LOCAL, tls: SERVER_TLS };
const start = async (listener: ListenerSettings) => {
  const metrics = new Metrics();
  const sources = adminSources(new RouteFeed());
  return startGateway({
    service: new LargeService(TEXT),
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
