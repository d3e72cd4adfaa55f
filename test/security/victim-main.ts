import path from 'node:path';
import type { ListenerSettings } from '../../src/config/config.js';
import { packageRoot } from '../../src/package-root.js';
import { LOCAL, startGateway } from '../gateway/harness.js';

/**
 * A gateway in a process of its own, for hostile clients, and one beside it whose listeners speak TLS: prints where they
 * listen, ends with its parent. They wait less for requests than a gateway does, so that a test need not.
 */
const certificate = path.join(packageRoot(), 'test', 'fixtures', 'tls', 'server-one');
const tls = { certFile: `${certificate}.crt`, keyFile: `${certificate}.key`, clientCaFile: null };
const secure: ListenerSettings = { ...LOCAL, tls };
const [open, closed] = await Promise.all([
  startGateway({ arrivalMsMax: 8_000 }),
  startGateway({
    arrivalMsMax: 8_000,
    listen: { grpc: secure, http: secure, adminHttp: secure, adminGrpc: secure },
  }),
]);
const { grpc, http, adminHttp, adminGrpc } = open.faces.addresses;
const ports = {
  grpc: grpc.port,
  http: http.port,
  admin: adminHttp.port,
  adminGrpc: adminGrpc.port,
  tlsGrpc: closed.faces.addresses.grpc.port,
  tlsHttp: closed.faces.addresses.http.port,
};
process.stdout.write(`${JSON.stringify(ports)}\n`);
process.stdin.on('end', () => process.exit(0)).resume();
