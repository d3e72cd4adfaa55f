import type { IndexAnswer, IndexQuery } from '../index/search-index.js';
import type { Timers } from '../process/timers.js';
import type { Span } from '../telemetry/trace.js';
import { assertInTime } from './admission.js';
import type { AdmittedCall } from './admitted-call.js';
import type { Ejections } from './ejection.js';
import type { Run } from './found.js';
import type { VectorSource } from './single-encode.js';
import type { OpenTarget } from './targets.js';
import { inSpan, targetAttributes } from './traced.js';

/** The engines of one target, asked for one call: encode, then search. */
export class EngineRuns {
  private readonly ejections: Ejections;
  private readonly timers: Timers;

  constructor(ejections: Ejections, timers: Timers) {
    this.ejections = ejections;
    this.timers = timers;
  }

  /** Encodes and searches. What fails is counted against the target by whoever asked for it. */
  async run(admitted: AdmittedCall, vectors: VectorSource): Promise<Run> {
    const run = await this.work(admitted, vectors);
    this.ejections.succeeded(admitted.target);
    return run;
  }

  private async work(admitted: AdmittedCall, vectors: VectorSource): Promise<Run> {
    const { call, open } = admitted;
    const { vector, queueUs, encodeUs } = await vectors.vectorOf(admitted);
    const { topK, deadlineAtMs, withDocument, priority, trace } = call;
    assertInTime(this.timers, deadlineAtMs, 'search');
    const query: IndexQuery = { vector, topK, lane: priority, deadlineAtMs, withDocument };
    const found =
      trace === undefined
        ? await open.index.search(query)
        : await tracedSearch(open, query, trace, this.timers);
    return { hits: found.hits, vector, queueUs: queueUs + found.queueUs, encodeUs, searchUs: found.searchUs };
  }
}

const tracedSearch = (
  open: OpenTarget,
  query: IndexQuery,
  trace: Span,
  timers: Timers,
): Promise<IndexAnswer> =>
  inSpan(
    trace,
    'search',
    timers,
    () => open.index.search(query),
    (answer) => ({
      ...targetAttributes(open),
      lane: query.lane,
      top_k: query.topK,
      ...(answer === null
        ? {}
        : { hits: answer.hits.length, queue_us: answer.queueUs, search_us: answer.searchUs }),
    }),
  );
