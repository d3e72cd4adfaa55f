import { type Fault, UNNOTICED } from './fault.js';
import { CHILD_FAULTS } from './faults/children.js';
import { FILE_FAULTS } from './faults/files.js';
import { GATEWAY_FAULTS } from './faults/gateway.js';
import { POSTGRESQL_FAULTS } from './faults/postgresql.js';
import { REDIS_FAULTS } from './faults/redis.js';
import { ROUTE_FAULTS } from './faults/routes.js';
import { TRAFFIC_FAULTS } from './faults/traffic.js';

/** The table: what is done to a gateway under load, how it is undone, and what may be lost meanwhile. */
export const FAULTS: readonly Fault[] = [
  { name: 'nothing', inject: () => undefined, expected: UNNOTICED },
  ...REDIS_FAULTS,
  ...POSTGRESQL_FAULTS,
  ...CHILD_FAULTS,
  ...GATEWAY_FAULTS,
  ...ROUTE_FAULTS,
  ...TRAFFIC_FAULTS,
  ...FILE_FAULTS,
];

/** Those of a size; or, of all, those whose name has `part` in it. Throws where there is none. */
export function faultsOf(size: 'smoke' | 'full', part?: string): readonly Fault[] {
  if (part === undefined) return FAULTS.filter(({ inSmoke }) => size === 'full' || inSmoke !== false);
  const asked = FAULTS.filter(({ name }) => name.toLowerCase().includes(part.toLowerCase()));
  if (asked.length > 0) return asked;
  throw new Error(
    `no fault has "${part}" in its name; there are: ${FAULTS.map(({ name }) => name).join('; ')}`,
  );
}
