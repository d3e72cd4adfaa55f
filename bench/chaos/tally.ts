import type { Reason } from '../../src/errors.js';

export const QUERY_KINDS = ['text', 'vector'] as const;
export type QueryKind = (typeof QUERY_KINDS)[number];

/** How a request ended, as it was judged. */
export type End =
  | { readonly kind: 'right' }
  | { readonly kind: 'wrong' | 'mispaired'; readonly what: string }
  | { readonly kind: 'refused'; readonly reason: Reason }
  /** Neither an answer nor an error that says that trying again helps. */
  | { readonly kind: 'lost'; readonly why: string };

/** A request of the load, or a probe that looks whether the service is well. */
export interface Sent {
  readonly kind: QueryKind;
  readonly isProbe: boolean;
  readonly sentAtMs: number;
  tally: Tally;
  /** It was under way when the fault of its tally began. */
  isBefore: boolean;
  /** It was sent when the gateway of its tally listened again. */
  isSinceBack: boolean;
}

const EXAMPLES_MAX = 4;

/**
 * What became of the requests of one fault: of those that were under way when it began, and of all that were sent until
 * the service was well again. What is answered wrongly or lost counts for probes too; the other numbers are the load's.
 */
export class Tally {
  readonly requests: Record<QueryKind, number> = { text: 0, vector: 0 };
  readonly refused: Record<QueryKind, number> = { text: 0, vector: 0 };
  answered = 0;
  probes = 0;
  probesRefused = 0;
  wrong = 0;
  mispaired = 0;
  lost = 0;
  sentBefore = 0;
  lostBefore = 0;
  isBack = false;
  lostSinceBack = 0;
  /** What was lost or wrong, for whoever reads the report; a few of each kind. */
  readonly examples = new Set<string>();
  /** How often each reason was given to those who were refused. */
  readonly reasons = new Map<string, number>();

  get requestCount(): number {
    return this.requests.text + this.requests.vector;
  }

  /** Counts one that is sent now. */
  send(kind: QueryKind, isProbe: boolean): Sent {
    this.#take(kind, isProbe, 1);
    const sentAtMs = performance.now();
    return { kind, isProbe, sentAtMs, tally: this, isBefore: false, isSinceBack: this.isBack };
  }

  /** Takes over one that is still under way. */
  adopt(sent: Sent): void {
    sent.tally.#take(sent.kind, sent.isProbe, -1);
    this.#take(sent.kind, sent.isProbe, 1);
    sent.tally = this;
    sent.isSinceBack = this.isBack;
  }

  end({ kind, isProbe, isBefore, isSinceBack }: Sent, end: End): void {
    switch (end.kind) {
      case 'right':
        if (!isProbe) this.answered++;
        return;
      case 'wrong':
      case 'mispaired':
        if (!isProbe) this.answered++;
        this[end.kind]++;
        this.#note(`${end.kind}: ${end.what}`);
        return;
      case 'refused':
        if (isProbe) this.probesRefused++;
        else this.refused[kind]++;
        this.reasons.set(end.reason, (this.reasons.get(end.reason) ?? 0) + 1);
        return;
      case 'lost':
        this.lost++;
        if (isBefore) this.lostBefore++;
        if (isSinceBack) this.lostSinceBack++;
        this.#note(`lost: ${end.why}`);
        return;
      default:
        end satisfies never;
    }
  }

  #take(kind: QueryKind, isProbe: boolean, count: 1 | -1): void {
    if (isProbe) this.probes += count;
    else this.requests[kind] += count;
  }

  #note(what: string): void {
    if (this.examples.size < EXAMPLES_MAX) this.examples.add(what);
  }
}
