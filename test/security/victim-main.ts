import { startGateway } from '../gateway/harness.js';

/** A gateway in a process of its own, for hostile clients: prints where it listens, ends with its parent. */
const gateway = await startGateway();
const { grpc, http, adminHttp } = gateway.faces.addresses;
process.stdout.write(`${JSON.stringify({ grpc: grpc.port, http: http.port, admin: adminHttp.port })}\n`);
process.stdin.on('end', () => process.exit(0)).resume();
