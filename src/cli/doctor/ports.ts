import { createServer } from 'node:net';
import type { Config } from '../../config/config.js';
import { type Finding, fail, ok, warn } from './finding.js';

/** Is each configured port free, or taken by a running gateway of this very configuration? */
export async function checkPorts(listen: Config['listen'], gatewayRuns: boolean): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [name, { host, port }] of Object.entries(listen)) {
    const setting = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const check = `port ${setting}`;
    const code = await tryListen(host, port);
    if (code === null) findings.push(ok(check, `${host}:${port} is free`));
    else if (code === 'EADDRINUSE' && gatewayRuns)
      findings.push(ok(check, `${host}:${port} is the running gateway's`));
    else if (code === 'EADDRINUSE') {
      findings.push(
        fail(
          check,
          `${host}:${port} is taken by another program`,
          `end it, or set SWITCHYARD_LISTEN__${setting.toUpperCase()}__PORT`,
        ),
      );
    } else
      findings.push(
        warn(check, `${host}:${port} cannot be bound (${code})`, 'check the address and the permissions'),
      );
  }
  return findings;
}

/** null when the address could be bound, else the system's error code. */
export function tryListen(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}
