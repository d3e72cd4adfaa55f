import { SwitchyardError } from '../../errors.js';
import type { EventKind, Facts, MigrationState, StateKind } from './state.js';

const NOW: Readonly<Record<Exclude<StateKind, 'running' | 'paused'>, string>> = {
  completed: 'it completed; rollback brings the old version back for as long as that is not retired',
  aborted: 'it was aborted: start another one',
  rolled_back: 'it was rolled back: start another one',
};

/** An event that the state has no place for, with what it has. */
export const unfitting = (state: MigrationState, event: EventKind): SwitchyardError =>
  conflict(`${event} does not fit the migration now: ${now(state)}`);

/** Behind `complete` an abort leaves the new version serving. */
export const wayBack = ({ placement }: Facts): string =>
  placement.kind === 'released'
    ? 'rollback goes back, abort ends it with the new version serving'
    : 'abort goes back';

function now(state: MigrationState): string {
  if (state.kind === 'running') return `it is running: pause stops it where it is, ${wayBack(state.facts)}`;
  if (state.kind === 'paused') return `it is paused: resume or promote goes on, ${wayBack(state.facts)}`;
  return NOW[state.kind];
}

export const conflict = (message: string): SwitchyardError => new SwitchyardError('STATUS_CONFLICT', message);
