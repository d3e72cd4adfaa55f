import type { MethodsByPath } from '../http/app.js';

/**
 * Addresses are written `/v1/routes/{corpus}:rollback`. A colon begins a parameter in fastify's paths, two are one
 * colon, and a parameter without a pattern would swallow a colon and what follows.
 */
export function fastifyPath(address: string): string {
  return address
    .replaceAll(':', '::')
    .replaceAll(/\{(\w+)\}(?=::)/g, ':$1(^[^:]+)')
    .replaceAll(/\{(\w+)\}$/g, ':$1(^[^:]+$$)')
    .replaceAll(/\{(\w+)\}/g, ':$1');
}

/** The methods of each address, so that a wrong method is told from a wrong address. */
export function methodsByAddress(
  endpoints: readonly { readonly method: string; readonly address: string }[],
): MethodsByPath {
  const byAddress = new Map<string, string[]>();
  for (const { method, address } of endpoints) {
    const methods = byAddress.get(address) ?? [];
    methods.push(...(method === 'GET' ? ['GET', 'HEAD'] : [method]));
    byAddress.set(address, methods);
  }
  const patterns = [...byAddress].map(
    ([address, methods]) =>
      [new RegExp(`^${address.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/:]+')}$`), methods] as const,
  );
  return { get: (path) => patterns.find(([pattern]) => pattern.test(path))?.[1] };
}
