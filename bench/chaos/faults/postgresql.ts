import { type Fault, UNNOTICED } from '../fault.js';
import { forgottenGivenUp, newConnections, registryDown, registryUp } from '../signs.js';

/** The one that listens for changes, and one that asks. */
const CONNECTIONS_LEAST = 2;

export const POSTGRESQL_FAULTS: readonly Fault[] = [
  {
    name: 'postgresql ended',
    inject: ({ postgres }) => postgres.stop(),
    ready: registryUp,
    met: registryDown,
    heal: ({ postgres }) => postgres.start(),
    expected: UNNOTICED,
  },
  {
    name: 'postgresql killed',
    inject: ({ postgres }) => postgres.kill(),
    ready: registryUp,
    met: registryDown,
    heal: ({ postgres }) => postgres.start(),
    expected: UNNOTICED,
  },
  {
    name: 'postgresql stopped (SIGSTOP)',
    ready: registryUp,
    inject: ({ postgres }) => postgres.pause(),
    met: registryDown,
    heal: ({ postgres }) => postgres.resume(),
    expected: UNNOTICED,
  },
  {
    name: 'postgresql half-open: connections that swallow everything',
    ready: registryUp,
    inject: ({ postgresProxy }) => postgresProxy.silence(),
    met: registryDown,
    heal: ({ postgresProxy }) => postgresProxy.resume(),
    expected: UNNOTICED,
  },
  {
    name: 'postgresql half-open: open connections swallow everything, new ones work',
    ready: registryUp,
    inject: ({ postgresProxy }) => postgresProxy.forget(),
    met: forgottenGivenUp,
    expected: UNNOTICED,
  },
  {
    name: 'postgresql connections reset',
    ready: registryUp,
    inject: ({ postgresProxy }) => postgresProxy.cut(),
    met: newConnections,
    metBy: CONNECTIONS_LEAST,
    expected: UNNOTICED,
  },
];
