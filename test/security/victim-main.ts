import { startGateway } from '../gateway/harness.js';

/**
 * A gateway in a process of its own, for hostile clients: prints where it listens, ends with its parent. It waits less for
 * requests than a gateway does, so that a test need not.
 */
const gateway = await startGateway({ arrivalMsMax: 8_000 });
const { grpc, http, adminHttp } = gateway.faces.addresses;
process.stdout.write(`${JSON.stringify({ grpc: grpc.port, http: http.port, admin: adminHttp.port })}\n`);
process.stdin.on('end', () => process.exit(0)).resume();
