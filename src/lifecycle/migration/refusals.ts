import { SwitchyardError } from '../../errors.js';
import type { EventKind, MigrationState, StateKind } from './state.js';

const NOW: Readonly<Record<StateKind, string>> = {
  running: 'it is running: pause stops it where it is, abort goes back',
  paused: 'it is paused: resume or promote goes on, abort goes back',
  completed: 'it completed; rollback brings the old version back for as long as that is not retired',
  aborted: 'it was aborted: start another one',
  rolled_back: 'it was rolled back: start another one',
};

/** An event that the state has no place for, with what it has. */
export const unfitting = (state: MigrationState, event: EventKind): SwitchyardError =>
  conflict(`${event} does not fit the migration now: ${NOW[state.kind]}`);

export const conflict = (message: string): SwitchyardError => new SwitchyardError('STATUS_CONFLICT', message);
