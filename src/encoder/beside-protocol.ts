import {
  type ErrorFrame,
  errorFromFrame,
  errorToFrame,
  SwitchyardError,
  toSwitchyardError,
} from '../errors.js';
import type { BatchInputs } from './batch-tensors.js';
import type { MeasuredRuns } from './batching-plan.js';
import type { ChildConfig, ReadyMessage } from './child-protocol.js';
import type { ModelManifest } from './manifest.js';

/** What the thread that speaks with the parent asks of the one that runs the model; one thing at a time. */
export type BesideRequest =
  | { readonly kind: 'open'; readonly config: ChildConfig }
  | { readonly kind: 'run'; readonly inputs: BatchInputs };

/** What is asked, under the number that its answer has; or that the process is to end, which has no answer. */
export type BesideQuestion =
  | { readonly kind: 'ask'; readonly id: number; readonly request: BesideRequest }
  | { readonly kind: 'leave' };

export interface BesideReply {
  readonly id: number;
  readonly answer: BesideAnswer;
}

export type BesideAnswer =
  | {
      readonly kind: 'opened';
      readonly manifest: ModelManifest;
      readonly measured: MeasuredRuns;
      readonly ready: ReadyMessage;
    }
  | { readonly kind: 'ran'; readonly values: Float32Array<ArrayBuffer> }
  | { readonly kind: 'failed'; readonly error: BesideError };

/** A catalogued error as it crosses between threads, with what its cause said. */
interface BesideError {
  readonly frame: ErrorFrame;
  readonly cause: string | null;
}

export function besideError(error: unknown): BesideError {
  const known = toSwitchyardError(error);
  return { frame: errorToFrame(known), cause: known.cause instanceof Error ? known.cause.message : null };
}

export function fromBesideError({ frame, cause }: BesideError): SwitchyardError {
  const error = errorFromFrame(frame);
  return cause === null
    ? error
    : new SwitchyardError(error.reason, error.message, { details: error.details, cause: new Error(cause) });
}
