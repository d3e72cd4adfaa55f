import { once } from 'node:events';
import { startGateway } from '../gateway/harness.js';

/** A gateway in a process of its own that closes when it is told to, and then ends by itself: prints where it listens. */
const gateway = await startGateway();
const { grpc, http, adminHttp, adminGrpc } = gateway.faces.addresses;
const ports = { grpc: grpc.port, http: http.port, admin: adminHttp.port, adminGrpc: adminGrpc.port };
process.stdout.write(`${JSON.stringify(ports)}\n`);
await once(process.stdin, 'data');
process.stdin.destroy();
await gateway.close();
