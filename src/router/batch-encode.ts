import { withoutTokens } from '../encoder/encode-request.js';
import { REASONS, SwitchyardError, toSwitchyardError } from '../errors.js';
import type { Timers } from '../process/timers.js';
import { assertInTime } from './admission.js';
import { type AdmittedCall, assertSpace, type CallVector, vectorGiven } from './admitted-call.js';
import type { EmbeddingCache, EncodedText } from './embedding-cache.js';
import type { SearchCall } from './query.js';
import type { VectorSource } from './single-encode.js';

/** As many texts as one encode call takes. */
const TEXTS_MAX = 1024;

/**
 * The vectors of a batch's texts, with one encode call per model and lane. Who needs one asks before `start`. Who asks
 * later comes from a target that failed: with the vector it had, or encoded together with the others that failed.
 */
export class EncodeTogether implements VectorSource {
  private readonly embeddings: EmbeddingCache | null;
  private readonly timers: Timers;
  private readonly asked = new Map<AdmittedCall, (vector: CallVector | SwitchyardError) => void>();
  private readonly had = new Map<SearchCall, CallVector>();
  private isStarted = false;
  private isPlanned = false;

  constructor(embeddings: EmbeddingCache | null, timers: Timers) {
    this.embeddings = embeddings;
    this.timers = timers;
  }

  async vectorOf(call: AdmittedCall): Promise<CallVector> {
    if (call.call.query.kind === 'vector') return vectorGiven(call);
    assertInTime(this.timers, call.call.deadlineAtMs, 'encode');
    const had = this.had.get(call.call);
    if (had?.vector.fingerprint === call.open.spec.fingerprint) return had;
    const vector = await new Promise<CallVector | SwitchyardError>((resolve) => {
      this.asked.set(call, resolve);
      if (this.isStarted) this.encodeSoon();
    });
    if (vector instanceof SwitchyardError) throw vector;
    this.had.set(call.call, vector);
    return vector;
  }

  start(): void {
    this.isStarted = true;
    void this.encode();
  }

  /** Those who failed together ask one after the other, in this turn of the event loop. */
  private encodeSoon(): void {
    if (this.isPlanned) return;
    this.isPlanned = true;
    setImmediate(() => {
      this.isPlanned = false;
      void this.encode();
    });
  }

  /** Answers everybody who asked, and never rejects. */
  private async encode(): Promise<void> {
    const asked = new Map(this.asked);
    this.asked.clear();
    const missing: AdmittedCall[] = [];
    await Promise.all(
      [...asked].map(async ([call, resolve]) => {
        const known = call.call.bypassCache ? null : await this.embeddings?.find(textOf(call));
        if (known) resolve(vectorFrom(known));
        else missing.push(call);
      }),
    );
    const together = new Map<string, AdmittedCall[]>();
    for (const call of missing) {
      const key = `${call.call.priority} ${call.open.spec.fingerprint}`;
      const last = together.get(key);
      if (last === undefined) together.set(key, [call]);
      else last.push(call);
    }
    const groups = [...together.values()].flatMap((group) => slices(group, TEXTS_MAX));
    await Promise.all(
      groups.map(async (group) => {
        for (const [call, encoded] of await encodeGroup(group)) {
          if (!(encoded instanceof SwitchyardError) && !call.call.bypassCache)
            this.embeddings?.remember(textOf(call), encoded);
          asked.get(call)?.(encoded instanceof SwitchyardError ? encoded : vectorFrom(encoded));
        }
      }),
    );
  }
}

const textOf = ({ call, open }: AdmittedCall) => ({
  encoder: open.encoder,
  text: call.query.kind === 'text' ? call.query.text : '',
  role: 'query' as const,
});

const vectorFrom = ({ fingerprint, values, queueUs, encodeUs }: EncodedText): CallVector => ({
  vector: { fingerprint, values },
  queueUs,
  encodeUs,
});

type Encoded = readonly (readonly [AdmittedCall, EncodedText | SwitchyardError])[];

async function encodeGroup(group: readonly AdmittedCall[]): Promise<Encoded> {
  const first = group[0];
  if (first === undefined) return [];
  const { encoder, spec } = first.open;
  try {
    const batch = await encoder.encode({
      texts: group.map((call) => textOf(call).text),
      role: 'query',
      lane: first.call.priority,
      // Worthless only when the last of them is.
      deadlineAtMs: Math.max(...group.map(({ call }) => call.deadlineAtMs)),
      // It has an error of its own; the others are not encoded again for it.
      leavesOut: true,
      // All of one request.
      trace: first.call.trace,
    });
    assertSpace(batch, spec.fingerprint);
    const { fingerprint, dimensions, queueUs, encodeUs } = batch;
    return group.map((call, at) => {
      const tokenCount = batch.tokenCounts[at] ?? 0;
      if (tokenCount === 0) return [call, withoutTokens()] as const;
      // A copy: what is sent to a search worker would otherwise take the whole batch with it.
      const values = batch.values.slice(at * dimensions, (at + 1) * dimensions);
      const isTruncated = batch.truncatedCount > 0 && tokenCount > encoder.model.max_tokens;
      return [call, { fingerprint, values, tokenCount, isTruncated, queueUs, encodeUs }] as const;
    });
  } catch (thrown) {
    const error = toSwitchyardError(thrown);
    // One text that can never be encoded must not take the others with it.
    if (group.length > 1 && REASONS[error.reason].retry === 'never') {
      const alone = await Promise.all(group.map((call) => encodeGroup([call])));
      return alone.flat();
    }
    return group.map((call) => [call, error] as const);
  }
}

function slices<T>(items: readonly T[], length: number): T[][] {
  const result: T[][] = [];
  for (let at = 0; at < items.length; at += length) result.push(items.slice(at, at + length));
  return result;
}
