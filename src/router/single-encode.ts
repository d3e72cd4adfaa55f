import type { Timers } from '../process/timers.js';
import { assertInTime } from './admission.js';
import { type AdmittedCall, assertSpace, type CallVector, vectorGiven } from './admitted-call.js';
import type { EmbeddingCache } from './embedding-cache.js';
import { encodeText } from './encode-text.js';

/** Where the vector of an admitted call comes from: of its model, and with what it cost. */
export interface VectorSource {
  /** Errors: DEADLINE_EXCEEDED, those of encoders, FINGERPRINT_MISMATCH. */
  vectorOf(admitted: AdmittedCall): Promise<CallVector>;
}

/** The vector that the client sent, or that of its text, encoded by itself. */
export class EncodeSingly implements VectorSource {
  private readonly embeddings: EmbeddingCache | null;
  private readonly timers: Timers;

  constructor(embeddings: EmbeddingCache | null, timers: Timers) {
    this.embeddings = embeddings;
    this.timers = timers;
  }

  async vectorOf(admitted: AdmittedCall): Promise<CallVector> {
    const { call, open } = admitted;
    if (call.query.kind === 'vector') return vectorGiven(admitted);
    const { deadlineAtMs, trace } = call;
    assertInTime(this.timers, deadlineAtMs, 'encode');
    const { fingerprint, values, queueUs, encodeUs } = await encodeText(
      call.bypassCache ? null : this.embeddings,
      {
        encoder: open.encoder,
        text: call.query.text,
        role: 'query',
        lane: call.priority,
        deadlineAtMs,
        trace,
      },
    );
    assertSpace({ fingerprint }, open.spec.fingerprint);
    return { vector: { fingerprint, values }, queueUs, encodeUs };
  }
}
