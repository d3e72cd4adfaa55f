import { answerIds, idsFound } from './answer-ids.js';
import { arrivalsMs } from './arrivals.js';
import { GrpcConnection } from './grpc-connection.js';
import { requestData, requestHeaders } from './http2-frames.js';
import { Latencies } from './latencies.js';
import type { LoadRequests, LoadResult, LoadRun, LoadTarget } from './load-protocol.js';
import { Ticker } from './ticker.js';

/** Answers may take this long after the last request. */
const TAIL_MS_MAX = 30_000;
/** RESOURCE_EXHAUSTED and UNAVAILABLE: the server did not take the request on. */
const REFUSED: ReadonlySet<number> = new Set([8, 14]);

export const monotonicMs = (): number => {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
};

/** Connections to one server and the requests made in advance for it. */
export class LoadRunner {
  readonly #frames: readonly Buffer[];
  readonly #expected: readonly ReadonlySet<string>[] | null;
  #connections: readonly GrpcConnection[] = [];
  #run: Run | null = null;
  #ticker: Ticker | null = null;

  private constructor(requests: LoadRequests) {
    this.#frames = requests.bodies.map(requestData);
    this.#expected = requests.expected?.map((ids) => new Set(ids)) ?? null;
  }

  static async open(target: LoadTarget, requests: LoadRequests): Promise<LoadRunner> {
    if (requests.bodies.length === 0) throw new Error('there are no requests to send');
    const runner = new LoadRunner(requests);
    const headers = requestHeaders(`${target.host}:${target.port}`, target.method, target.deadlineMs ?? null);
    const connections: GrpcConnection[] = [];
    for (let number = 0; number < target.connections; number++)
      connections.push(
        await GrpcConnection.open(
          target,
          headers,
          (tag, status, message) => runner.#run?.answered(number, tag, status, message),
          (why) => runner.#run?.broken(why),
        ),
      );
    runner.#connections = connections;
    return runner;
  }

  async run(plan: LoadRun): Promise<LoadResult> {
    if (plan.kind === 'open') this.#ticker ??= await Ticker.start();
    const run = new Run(this.#connections, this.#frames, this.#expected, plan.from);
    this.#run = run;
    try {
      return await (plan.kind === 'closed'
        ? run.closed(plan.inFlight, plan.seconds)
        : run.open(arrivalsMs(plan.perSecond, plan.seconds, plan.seed), this.#ticker as Ticker));
    } finally {
      this.#run = null;
    }
  }
}

class Run {
  readonly #connections: readonly GrpcConnection[];
  readonly #frames: readonly Buffer[];
  readonly #expected: readonly ReadonlySet<string>[] | null;
  readonly #from: number;
  readonly #latencies = new Latencies();
  readonly #accepted = new Latencies();
  readonly #late = new Latencies();
  readonly #failed: Record<string, number> = {};
  readonly #cpuBefore = process.cpuUsage();
  /** Per request sent: when it was sent, or due. */
  #startedMs = new Float64Array(65_536);
  #sent = 0;
  #lastSentMs = monotonicMs();
  #answeredCount = 0;
  #expectedIds = 0;
  #foundIds = 0;
  #stopAtMs = Number.POSITIVE_INFINITY;
  #onAnswered: ((connection: number) => void) | null = null;
  #done: (() => void) | null = null;
  #fail: ((error: Error) => void) | null = null;
  #isSending = true;

  constructor(
    connections: readonly GrpcConnection[],
    frames: readonly Buffer[],
    expected: readonly ReadonlySet<string>[] | null,
    from: number,
  ) {
    this.#connections = connections;
    this.#frames = frames;
    this.#expected = expected;
    this.#from = from;
  }

  async closed(inFlight: number, seconds: number): Promise<LoadResult> {
    const startMs = monotonicMs();
    this.#stopAtMs = startMs + seconds * 1000;
    const finished = this.#finished();
    this.#onAnswered = (connection) => {
      const nowMs = monotonicMs();
      if (nowMs < this.#stopAtMs) {
        this.#lastSentMs = nowMs;
        this.#send(connection, nowMs);
      } else this.#isSending = false;
    };
    for (let at = 0; at < inFlight; at++) this.#send(at % this.#connections.length, monotonicMs());
    await finished;
    return this.#result(startMs);
  }

  async open(dueMs: Float64Array, ticker: Ticker): Promise<LoadResult> {
    let startedMs = 0;
    const finished = this.#finished();
    const ticking = ticker
      .tick(dueMs, (count, startMs) => {
        startedMs = startMs;
        while (this.#sent < count) {
          const atMs = startMs + (dueMs[this.#sent] as number);
          this.#lastSentMs = monotonicMs();
          this.#late.add((this.#lastSentMs - atMs) * 1000);
          this.#send(this.#sent % this.#connections.length, atMs);
        }
      })
      .then(() => {
        this.#isSending = false;
        this.#endWhenAnswered();
      });
    await Promise.all([finished, ticking]);
    return this.#result(startedMs);
  }

  answered(connection: number, tag: number, status: number, message: Buffer | null): void {
    this.#answeredCount++;
    const us = (monotonicMs() - (this.#startedMs[tag] as number)) * 1000;
    if (!REFUSED.has(status)) this.#accepted.add(us);
    if (status === 0 && message !== null) {
      this.#latencies.add(us);
      if (this.#expected !== null) this.#compare(tag, message);
    } else this.#failed[status] = (this.#failed[status] ?? 0) + 1;
    this.#onAnswered?.(connection);
    this.#endWhenAnswered();
  }

  broken(why: string): void {
    this.#fail?.(new Error(`${why}, with ${this.#sent - this.#answeredCount} requests in flight`));
  }

  #compare(tag: number, message: Buffer): void {
    const expected = this.#expected?.[(this.#from + tag) % this.#frames.length];
    if (expected === undefined) return;
    this.#expectedIds += expected.size;
    this.#foundIds += idsFound(answerIds(message), expected);
  }

  #send(connection: number, startedMs: number): void {
    const tag = this.#sent++;
    if (tag === this.#startedMs.length) {
      const larger = new Float64Array(tag * 2);
      larger.set(this.#startedMs);
      this.#startedMs = larger;
    }
    this.#startedMs[tag] = startedMs;
    const frame = this.#frames[(this.#from + tag) % this.#frames.length] as Buffer;
    (this.#connections[connection] as GrpcConnection).send(tag, frame);
  }

  #finished(): Promise<void> {
    return new Promise((resolve, reject) => {
      let answeredBefore = -1;
      const watch = setInterval(() => {
        if (answeredBefore === this.#answeredCount)
          this.#fail?.(new Error(`no answer came for ${TAIL_MS_MAX} ms`));
        answeredBefore = this.#answeredCount;
      }, TAIL_MS_MAX);
      this.#done = () => {
        clearInterval(watch);
        resolve();
      };
      this.#fail = (error) => {
        clearInterval(watch);
        reject(error);
      };
    });
  }

  #endWhenAnswered(): void {
    if (!this.#isSending && this.#answeredCount === this.#sent) this.#done?.();
  }

  #result(startMs: number): LoadResult {
    const endMs = monotonicMs();
    const wallMs = endMs - startMs;
    const { user, system } = process.cpuUsage(this.#cpuBefore);
    return {
      answered: this.#latencies.count,
      failed: this.#failed,
      wallMs,
      tailMs: endMs - this.#lastSentMs,
      perSecond: (this.#latencies.count * 1000) / wallMs,
      latencyUs: this.#latencies.summary(),
      acceptedLatencyUs: this.#accepted.summary(),
      sentLateUs: this.#late.count === 0 ? null : this.#late.summary(),
      recall: this.#expectedIds === 0 ? null : this.#foundIds / this.#expectedIds,
      generatorCpuUs: (user + system) / Math.max(1, this.#answeredCount),
    };
  }
}
