import { ARCHIVE_OPERATIONS } from './archive-operations.js';
import { EVALUATION_OPERATIONS } from './evaluation-operations.js';
import { KEY_OPERATIONS } from './key-operations.js';
import { MIGRATION_OPERATIONS } from './migration-operations.js';
import type { InputOf, Operation, OutputOf } from './operation.js';
import { REGISTRY_OPERATIONS } from './registry-operations.js';
import { ROUTER_OPERATIONS } from './router-operations.js';

/** Everything an operator can do, once. The names are those of the methods of the admin port's services. */
export const OPERATIONS = {
  ...ROUTER_OPERATIONS,
  ...REGISTRY_OPERATIONS,
  ...EVALUATION_OPERATIONS,
  ...MIGRATION_OPERATIONS,
  ...ARCHIVE_OPERATIONS,
  ...KEY_OPERATIONS,
};
export type OperationName = keyof typeof OPERATIONS;

/** Who changes something and why. */
export interface Author {
  readonly actor: string;
  readonly reason: string;
}

/**
 * The operations as functions: HTTP, gRPC and the command line are thin faces of them. Every failure is a
 * SwitchyardError; REGISTRY_UNAVAILABLE from every method while PostgreSQL cannot be reached.
 */
export type AdminApi = {
  readonly [Name in OperationName]: (
    ...input: Arguments<InputOf<(typeof OPERATIONS)[Name]>>
  ) => Promise<OutputOf<(typeof OPERATIONS)[Name]>>;
};
/** What needs nothing said takes nothing. */
type Arguments<Input> = Record<never, never> extends Input ? [input?: Input] : [input: Input];

export const operationNames = Object.keys(OPERATIONS) as readonly OperationName[];
export const operationOf = (name: OperationName): Operation => OPERATIONS[name];
