import { observeAccess } from '../../src/gateway/wiring/access-metrics.js';
import { RouteFeed } from '../../src/gateway/wiring/route-feed.js';
import { Metrics } from '../../src/telemetry/metrics.js';
import { adminSources, startGateway } from '../gateway/harness.js';

/**
 * A gateway in a process of its own that has so many bytes, its argument, for requests that have not arrived whole:
 * prints where it listens, ends with its parent.
 */
const metrics = new Metrics();
const sources = adminSources(new RouteFeed());
const { faces, logged } = await startGateway({
  arrivingBytesMax: Number(process.argv[2]),
  onArriving: observeAccess(metrics, null).onArriving,
  admin: {
    ...sources,
    views: {
      ...sources.views,
      metrics: async () => ({ contentType: metrics.registry.contentType, text: await metrics.text() }),
    },
  },
});
// A line for each request that is refused would be kept for good.
setInterval(() => logged.splice(0), 100);
const { grpc, http, adminHttp, adminGrpc } = faces.addresses;
const ports = { grpc: grpc.port, http: http.port, admin: adminHttp.port, adminGrpc: adminGrpc.port };
process.stdout.write(`${JSON.stringify(ports)}\n`);
process.stdin.on('end', () => process.exit(0)).resume();
