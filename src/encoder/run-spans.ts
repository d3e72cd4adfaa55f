import type { SpanLink } from '../telemetry/trace.js';
import type { BatchMessage } from './child-protocol.js';
import type { EncodeRequest } from './encoder.js';

/** Runs that are remembered, so that the answers which come right after them can be linked. */
const RUNS = 64;

interface Run {
  readonly batch: BatchMessage;
  readonly endedAtMs: number;
  /** Its span, made for the first traced request that was in it. */
  link: SpanLink | null;
}

/** Spans of what an encoder did for a traced request, each linked to the runs of the model that it shared with others. */
export class RunSpans {
  readonly #model: string;
  readonly #runs: (Run | undefined)[] = new Array(RUNS);

  constructor(model: string) {
    this.#model = model;
  }

  /** A run that the process reported; its answers come next. */
  ran(batch: BatchMessage, endedAtMs: number): void {
    this.#runs[batch.batch % RUNS] = { batch, endedAtMs, link: null };
  }

  /** `runs`: numbers of the runs that held texts of the request. */
  record(
    { trace, texts, lane, role }: EncodeRequest,
    startMs: number,
    endMs: number,
    answer: { readonly runs: Iterable<number>; readonly queueUs: number; readonly encodeUs: number } | null,
    failed?: string,
  ): void {
    if (trace === undefined) return;
    const links = answer === null ? [] : [...answer.runs].flatMap((run) => this.#linkTo(run, trace));
    trace.record(
      'encode',
      startMs,
      endMs,
      {
        model: this.#model,
        lane,
        input_role: role,
        texts: texts.length,
        ...(answer === null ? {} : { queue_us: answer.queueUs, encode_us: answer.encodeUs }),
      },
      failed === undefined ? { links } : { links, failed },
    );
  }

  #linkTo(number: number, trace: NonNullable<EncodeRequest['trace']>): SpanLink[] {
    const run = this.#runs[number % RUNS];
    if (run === undefined || run.batch.batch !== number) return [];
    const { batch, endedAtMs } = run;
    run.link ??= trace.shared('encode_batch', endedAtMs - batch.runUs / 1000, endedAtMs, {
      model: this.#model,
      batch: batch.batch,
      lane: batch.lane,
      texts: batch.texts,
      tokens: batch.tokens,
      padded_tokens: batch.paddedTokens,
      run_us: batch.runUs,
    });
    return [run.link];
  }
}
