import type { KeyRole } from '../../registry/schema.js';

/**
 * What a request needs. `open`: nothing, for probes. `key`: any valid key. `search`: a key that may search, which is then
 * held to its corpora. `observe`: one that may see how the gateway is, also while keys cannot be read again. `operate`: one
 * that may change what is served. `administer`: one that may make and end keys.
 */
export type Access = 'open' | 'key' | 'search' | 'observe' | 'operate' | 'administer';

const ROLES: Readonly<Record<Exclude<Access, 'open'>, readonly KeyRole[]>> = {
  key: ['search', 'monitor', 'operator', 'admin'],
  search: ['search', 'operator', 'admin'],
  observe: ['monitor', 'operator', 'admin'],
  operate: ['operator', 'admin'],
  administer: ['admin'],
};

export const allows = (role: KeyRole, access: Exclude<Access, 'open'>): boolean =>
  ROLES[access].includes(role);

/** The least role that is enough, for messages. */
export const leastRole = (access: Exclude<Access, 'open'>): KeyRole => ROLES[access][0] as KeyRole;

const SEARCH = '/switchyard.v1.SearchService/';
const KEYS = '/switchyard.v1.KeyService/';

/**
 * What a gRPC method needs, by its path. What is not named is an operator's, so that a new method is never open by
 * being forgotten.
 */
export function accessOfMethod(path: string): Access {
  if (path.startsWith('/grpc.health.v1.Health/')) return 'open';
  if (path.startsWith('/grpc.reflection.')) return 'key';
  if (path.startsWith(SEARCH)) return 'search';
  return path.startsWith(KEYS) ? 'administer' : 'operate';
}
