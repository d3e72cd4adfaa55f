import type { Span } from '../telemetry/trace.js';
import type { Device, Fingerprint, InputRole, Lane } from '../vocabulary.js';
import type { ModelManifest } from './manifest.js';

export interface EncodeRequest {
  /** Raw texts, without the model's prefixes: the encoder adds the prefix of `role`. 1..1024 of them, none empty. */
  readonly texts: readonly string[];
  readonly role: InputRole;
  readonly lane: Lane;
  /** `performance.now()` of this process after which the answer is worthless; Infinity for none. */
  readonly deadlineAtMs: number;
  /**
   * A text of which the tokenizer leaves no token has no vector. True: it is left out, with the token count 0, and its
   * vector must not be used; absent: it refuses the request (EMPTY_QUERY).
   */
  readonly leavesOut?: boolean;
  /** Where the encoder records its work, linked to the runs that did it. Absent where nothing is traced. */
  readonly trace?: Span | undefined;
}

export interface EncodedBatch {
  readonly fingerprint: Fingerprint;
  readonly dimensions: number;
  /** texts.length × dimensions, row-major, in the order of the texts. Owned by the caller. */
  readonly values: Float32Array;
  /** Tokens of each text before cutting, special tokens included; 0 of one that was left out. */
  readonly tokenCounts: Uint32Array;
  /** Texts that were cut at the model's max tokens. */
  readonly truncatedCount: number;
  readonly queueUs: number;
  readonly encodeUs: number;
}

/** Readiness of an encoder. `failed`: its files, probes or provider are wrong; it is tried again in case that is mended. */
export type EncoderState =
  | { readonly kind: 'starting' }
  | {
      readonly kind: 'ready';
      readonly provider: Device;
      /** Why it is not the first of the configured providers, for a person; null when it is. */
      readonly fallbackReason: string | null;
      readonly pid: number;
    }
  | { readonly kind: 'restarting'; readonly attempt: number; readonly retryInMs: number }
  | { readonly kind: 'failed'; readonly error: Error; readonly attempt: number; readonly retryInMs: number }
  | { readonly kind: 'closed' };

/**
 * Anything that turns texts into vectors of one model: the supervised ONNX child process today,
 * an HTTP provider or a shared encoder later. Asynchronous, off the event loop (invariant 7).
 */
export interface Encoder {
  readonly model: ModelManifest;
  readonly state: EncoderState;
  /** Resolves when the probes were reproduced; rejects when it failed, although it will be tried again. */
  ready(): Promise<void>;
  /**
   * Errors: DEADLINE_EXCEEDED, QUEUE_FULL, ENCODER_UNAVAILABLE, SHUTTING_DOWN (all retryable), INVALID_ARGUMENT,
   * EMPTY_QUERY, TEXT_TOO_LARGE, REQUEST_TOO_LARGE, INTERNAL.
   */
  encode(request: EncodeRequest): Promise<EncodedBatch>;
  /** Ends the process after what is in flight; nothing is left running. */
  close(): Promise<void>;
}
