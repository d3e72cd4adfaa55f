import { type Reason, type SwitchyardError, toSwitchyardError } from '../errors.js';
import type { Hit } from '../index/search-index.js';
import { Breaker, type BreakerOptions, type BreakerState } from '../process/breaker.js';
import { LinkedList } from '../process/linked-list.js';
import type { Timers } from '../process/timers.js';
import type { OpenSpan } from '../telemetry/trace.js';
import type { QueryVector } from '../vocabulary.js';
import type { EmbeddingCache } from './embedding-cache.js';
import { encodeText } from './encode-text.js';
import type { MirrorDrop } from './mirror-drop.js';
import type { Shared } from './shared-pool.js';
import type { OpenTarget } from './targets.js';
import { inSpan, targetAttributes } from './traced.js';

export interface MirrorOptions {
  /** Mirrors of one shadow that run at once. */
  readonly concurrencyMax: number;
  /** Mirrors of one shadow that wait; with `queueBytesMax` the bound of its memory. */
  readonly queueLengthMax: number;
  readonly queueBytesMax: number;
  /** From the offer to the shadow's answer. */
  readonly deadlineMs: number;
  readonly breaker: BreakerOptions;
}

export const DEFAULT_MIRROR: MirrorOptions = Object.freeze({
  concurrencyMax: 8,
  queueLengthMax: 64,
  queueBytesMax: 4 << 20,
  deadlineMs: 2000,
  breaker: Object.freeze({ failuresToOpen: 5, openMsFirst: 1000, openMsMax: 30_000 }),
});

/** What is sent to the shadow: copies, nothing of the primary's (invariant 3). */
export type MirroredQuery =
  | { readonly kind: 'vector'; readonly vector: QueryVector }
  | { readonly kind: 'text'; readonly text: string };

/** Without waiting in queues; 0 where the model or the index was not asked. */
export interface ServiceTimes {
  readonly encodeUs: number;
  readonly searchUs: number;
}

export interface MirrorJob {
  readonly query: MirroredQuery;
  readonly topK: number;
  readonly bytes: number;
  readonly deadlineAtMs: number;
  /** Of the mirror, below the request's; absent where that is not traced. */
  readonly trace?: OpenSpan | undefined;
  done(hits: readonly Hit[], took: ServiceTimes): void;
  dropped(why: MirrorDrop): void;
  /** The shadow's own failure, besides what it is dropped for: also when that was said before, at the deadline. */
  failed(error: SwitchyardError): void;
}

export interface MirrorLaneState {
  readonly running: number;
  readonly waiting: number;
  readonly breaker: BreakerState['kind'];
  /** Reason of the last failure, for whoever looks why the breaker is open. */
  readonly lastFailure: Reason | null;
}

/**
 * The mirrors of one shadow target: a bounded queue, a bounded number at work, a breaker, no retries.
 * A slot stays taken until the shadow has really answered or failed, even after the deadline: what hangs holds
 * `concurrencyMax` slots and no more.
 */
export class MirrorLane {
  private readonly shared: Shared<OpenTarget>;
  private readonly options: MirrorOptions;
  private readonly timers: Timers;
  private readonly embeddings: EmbeddingCache | null;
  private readonly breaker: Breaker;
  private readonly waiting: MirrorJob[] = [];
  private readonly abandon = new LinkedList<(why: MirrorDrop) => void>();
  private waitingBytes = 0;
  private runningCount = 0;
  private pumpScheduled = false;
  private lastFailure: Reason | null = null;
  private isClosed = false;

  constructor(
    shared: Shared<OpenTarget>,
    options: MirrorOptions,
    timers: Timers,
    embeddings: EmbeddingCache | null,
  ) {
    this.shared = shared;
    this.embeddings = embeddings;
    this.options = options;
    this.timers = timers;
    this.breaker = new Breaker(options.breaker, () => timers.nowMs());
  }

  get state(): MirrorLaneState {
    return {
      running: this.runningCount,
      waiting: this.waiting.length,
      breaker: this.breaker.state.kind,
      lastFailure: this.lastFailure,
    };
  }

  /** Why a job of this size would be dropped at once, or null: asked before anything is copied for it. */
  refusal(bytes: number): MirrorDrop | null {
    if (this.isClosed) return 'shutting_down';
    if (this.shared.value === null) return 'not_ready';
    if (!this.breaker.wouldPass()) return 'breaker_open';
    const { concurrencyMax, queueLengthMax, queueBytesMax } = this.options;
    const free = concurrencyMax - this.runningCount;
    if (this.waiting.length >= queueLengthMax + Math.max(0, free)) return 'concurrency';
    return this.waitingBytes + bytes > queueBytesMax ? 'concurrency' : null;
  }

  /** Starts in a later turn of the event loop, when the primary's answer is on its way. */
  add(job: MirrorJob): void {
    this.waiting.push(job);
    this.waitingBytes += job.bytes;
    this.schedule();
  }

  /** Drops what waits and lets go of what runs. */
  close(): void {
    this.isClosed = true;
    for (const job of this.waiting.splice(0)) job.dropped('shutting_down');
    this.waitingBytes = 0;
    for (const { value: abandon } of this.abandon.places()) abandon('shutting_down');
  }

  private schedule(): void {
    if (this.pumpScheduled || this.runningCount >= this.options.concurrencyMax) return;
    this.pumpScheduled = true;
    setImmediate(() => {
      this.pumpScheduled = false;
      this.pump();
    });
  }

  private pump(): void {
    while (this.runningCount < this.options.concurrencyMax) {
      const job = this.waiting.shift();
      if (job === undefined) return;
      this.waitingBytes -= job.bytes;
      const target = this.shared.value;
      if (this.timers.nowMs() >= job.deadlineAtMs) job.dropped('deadline');
      else if (target === null) job.dropped('not_ready');
      else if (!this.breaker.tryPass()) job.dropped('breaker_open');
      else void this.run(job, target);
    }
  }

  private async run(job: MirrorJob, target: OpenTarget): Promise<void> {
    this.runningCount++;
    this.shared.retain();
    let isOpen = true;
    /** Ends the job once: by its answer, its failure, its deadline, or the shutdown. */
    const end = (finish: () => void): void => {
      if (!isOpen) return;
      isOpen = false;
      cancelDeadline();
      this.abandon.remove(place);
      this.shared.release();
      finish();
    };
    const fail = (why: MirrorDrop): void =>
      end(() => {
        if (why === 'overloaded' || why === 'shutting_down') this.breaker.passed();
        else this.breaker.failed();
        job.dropped(why);
      });
    const cancelDeadline = this.timers.after(job.deadlineAtMs - this.timers.nowMs(), () => {
      this.lastFailure = 'DEADLINE_EXCEEDED';
      fail('deadline');
    });
    const place = this.abandon.add(fail);
    try {
      const { vector, encodeUs } = await encodeFor(job, target, this.embeddings);
      if (!isOpen) return;
      const { topK, deadlineAtMs, trace } = job;
      const work = () =>
        target.index.search({ vector, topK, lane: 'shadow', deadlineAtMs, withDocument: false });
      const found = await inSpan(trace, 'search', this.timers, work, () => ({
        ...targetAttributes(target),
        lane: 'shadow',
      }));
      end(() => {
        this.breaker.succeeded();
        job.done(found.hits, { encodeUs, searchUs: found.searchUs });
      });
    } catch (thrown) {
      const error = toSwitchyardError(thrown);
      const { reason } = error;
      job.failed(error);
      if (isOpen) this.lastFailure = reason;
      fail(dropOf(reason));
    } finally {
      this.runningCount--;
      if (this.waiting.length > 0) this.schedule();
    }
  }
}

async function encodeFor(
  { query, deadlineAtMs, trace }: MirrorJob,
  { encoder }: OpenTarget,
  embeddings: EmbeddingCache | null,
): Promise<{ readonly vector: QueryVector; readonly encodeUs: number }> {
  if (query.kind === 'vector') return { vector: query.vector, encodeUs: 0 };
  const { fingerprint, values, encodeUs } = await encodeText(embeddings, {
    encoder,
    text: query.text,
    role: 'query',
    lane: 'shadow',
    deadlineAtMs,
    trace,
  });
  return { vector: { fingerprint, values }, encodeUs };
}

function dropOf(reason: Reason): MirrorDrop {
  if (reason === 'DEADLINE_EXCEEDED') return 'deadline';
  if (reason === 'QUEUE_FULL' || reason === 'OVERLOADED') return 'overloaded';
  return reason === 'SHUTTING_DOWN' ? 'shutting_down' : 'error';
}
