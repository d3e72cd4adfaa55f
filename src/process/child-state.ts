import type { SwitchyardError } from '../errors.js';

/** Why a child is gone or was ended. `unresponsive`: it owed an answer for too long and was killed. */
export type ChildDown =
  | { readonly kind: 'exited'; readonly code: number | null; readonly signal: NodeJS.Signals | null }
  | { readonly kind: 'unresponsive'; readonly silentMs: number }
  | { readonly kind: 'start_timeout'; readonly afterMs: number }
  | { readonly kind: 'protocol'; readonly error: SwitchyardError }
  | { readonly kind: 'spawn_failed'; readonly code: string };

export type ChildState =
  /** Spawned, not yet declared ready. `attempt` is 0 for the first start, else the number of the restart. */
  | { readonly kind: 'starting'; readonly attempt: number; readonly pid: number | null }
  | { readonly kind: 'ready'; readonly pid: number }
  | {
      readonly kind: 'waiting';
      readonly attempt: number;
      readonly retryInMs: number;
      readonly down: ChildDown;
    }
  /** It said why it cannot work: something beside it must be mended first. Tried again, in case it is. */
  | {
      readonly kind: 'failed';
      readonly attempt: number;
      readonly retryInMs: number;
      readonly error: SwitchyardError;
    }
  | { readonly kind: 'closing' }
  | { readonly kind: 'closed' };

/** For logs and error messages. */
export function describeDown(down: ChildDown): string {
  switch (down.kind) {
    case 'exited':
      return down.signal === null ? `ended with code ${down.code}` : `was ended by ${down.signal}`;
    case 'unresponsive':
      return `gave no sign for ${Math.round(down.silentMs)} ms while it had work, and was killed`;
    case 'start_timeout':
      return `was not ready after ${down.afterMs} ms, and was killed`;
    case 'protocol':
      return `broke the channel (${down.error.message}), and was killed`;
    case 'spawn_failed':
      return `could not be started (${down.code})`;
    default:
      return down satisfies never;
  }
}
