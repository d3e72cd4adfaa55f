import type { Gateway } from '../../registry/gateways.js';

/** For a person: which, where, and what it says keeps it. */
export const replicaNames = (replicas: readonly Gateway[]): string =>
  replicas
    .map(
      ({ gatewayId, address, lastError }) =>
        `${gatewayId} at ${address}${lastError ? ` (${lastError})` : ''}`,
    )
    .join(', ');
