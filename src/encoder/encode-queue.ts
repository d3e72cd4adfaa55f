import { SwitchyardError } from '../errors.js';
import { LinkedList, type Place } from '../process/linked-list.js';
import { Slots } from '../process/slots.js';
import { LANES, type Lane } from '../vocabulary.js';
import { PIECE_BYTES_MAX, PIECE_TEXTS_MAX, type PieceVectors } from './child-protocol.js';
import { DrainEstimate } from './drain-estimate.js';
import type { EncodedBatch, EncodeRequest } from './encoder.js';

export interface QueueBounds {
  /** Requests accepted and not answered yet, per lane. */
  readonly queueLengthMax: Readonly<Record<Lane, number>>;
  /** UTF-8 bytes of the texts of those requests, per lane. */
  readonly queueBytesMax: number;
}

/** What may be handed to the process and not answered yet, per lane: enough to batch well, little to lose or to wait behind. */
const WINDOW_TEXTS_MAX = 1024;
const WINDOW_BYTES_MAX = 1024 * 1024;

/** One call of `encode` until it is settled. */
export interface Ticket {
  readonly request: EncodeRequest;
  readonly startedAtMs: number;
  /** UTF-8 bytes of each text. */
  readonly textBytes: Uint32Array;
  readonly bytes: number;
  readonly values: Float32Array;
  readonly tokenCounts: Uint32Array;
  readonly runUsOf: Map<number, number>;
  readonly resolve: (batch: Omit<EncodedBatch, 'fingerprint' | 'dimensions'>) => void;
  readonly reject: (error: SwitchyardError) => void;
  truncatedCount: number;
  missing: number;
  /** The first text not yet handed over. */
  nextText: number;
  settled: boolean;
  cancelTimer: () => void;
  /** Among the open and the waiting ones of its lane. */
  openPlace: Place<Ticket> | null;
  waitingPlace: Place<Ticket> | null;
}

/** A piece that the process has and owes an answer for, even when nobody waits for it any more. */
export interface SentPiece {
  readonly ticket: Ticket;
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
}

interface LaneState {
  /** Accepted and not settled. */
  readonly open: LinkedList<Ticket>;
  /** With texts not yet handed over, oldest first. */
  readonly waiting: LinkedList<Ticket>;
  bytes: number;
  texts: number;
  windowTexts: number;
  windowBytes: number;
}

const emptyLane = (): LaneState => ({
  open: new LinkedList(),
  waiting: new LinkedList(),
  bytes: 0,
  texts: 0,
  windowTexts: 0,
  windowBytes: 0,
});

/**
 * The parent's side of the queue. Requests wait here, cut into pieces; only a window of each lane is handed to the
 * process, so a stopped process holds a bounded amount, an expired request leaves without a trace, and a live text
 * never waits behind megabytes of bulk in the pipe.
 */
export class EncodeQueue {
  readonly #bounds: QueueBounds;
  readonly #lanes: Readonly<Record<Lane, LaneState>> = {
    live: emptyLane(),
    shadow: emptyLane(),
    bulk: emptyLane(),
  };
  readonly #sent = new Slots<SentPiece>();
  readonly #drain = new DrainEstimate();

  constructor(bounds: QueueBounds) {
    this.#bounds = bounds;
  }

  /** Pieces the process owes an answer for. */
  get outstanding(): number {
    return this.#sent.size;
  }

  /** Nobody waits for anything. */
  get isIdle(): boolean {
    return LANES.every((lane) => this.#lanes[lane].open.size === 0);
  }

  /** Requests accepted and not settled. */
  get lengths(): Readonly<Record<Lane, number>> {
    const { live, shadow, bulk } = this.#lanes;
    return { live: live.open.size, shadow: shadow.open.size, bulk: bulk.open.size };
  }

  /** UTF-8 bytes of their texts. */
  get bytes(): Readonly<Record<Lane, number>> {
    const { live, shadow, bulk } = this.#lanes;
    return { live: live.bytes, shadow: shadow.bytes, bulk: bulk.bytes };
  }

  /** A run of the process, from which the hints in refusals are estimated. */
  observeRun(texts: number, runUs: number): void {
    this.#drain.observe(texts, runUs);
  }

  /** Errors: QUEUE_FULL naming the bound, REQUEST_TOO_LARGE when the request alone is beyond it. */
  checkRoom(lane: Lane, textBytes: Uint32Array): void {
    const bytes = sumOf(textBytes);
    const { open, bytes: queuedBytes } = this.#lanes[lane];
    const { queueLengthMax, queueBytesMax } = this.#bounds;
    if (bytes > queueBytesMax)
      throw new SwitchyardError(
        'REQUEST_TOO_LARGE',
        `the texts of one request have ${bytes} bytes, they must be <= ${queueBytesMax}; send fewer at once`,
      );
    if (open.size + 1 > queueLengthMax[lane])
      throw this.#full(lane, 'queueLengthMax', `${open.size} requests`, queueLengthMax[lane]);
    if (queuedBytes + bytes > queueBytesMax)
      throw this.#full(lane, 'queueBytesMax', `${queuedBytes} bytes of text`, queueBytesMax);
  }

  /** With a hint of when there will be room: what this lane and the more urgent ones hold comes first. */
  #full(lane: Lane, bound: keyof QueueBounds, held: string, limit: number): SwitchyardError {
    let textsAhead = 0;
    for (const name of LANES.slice(0, LANES.indexOf(lane) + 1)) textsAhead += this.#lanes[name].texts;
    return new SwitchyardError(
      'QUEUE_FULL',
      `the encoder's ${lane} queue holds ${held}, its bound is ${limit}; try again later`,
      {
        details: { lane, bound, limit: String(limit) },
        retryAfterMs: this.#drain.retryAfterMs(textsAhead),
      },
    );
  }

  add(ticket: Ticket): void {
    const lane = this.#lanes[ticket.request.lane];
    ticket.openPlace = lane.open.add(ticket);
    ticket.waitingPlace = lane.waiting.add(ticket);
    lane.bytes += ticket.bytes;
    lane.texts += ticket.request.texts.length;
  }

  /**
   * Hands over what the windows have room for, most urgent lane first. `send` answers false when the pipe is full;
   * the piece stays where it was.
   */
  pump(send: (id: number, ticket: Ticket, from: number, to: number) => boolean): void {
    for (const name of LANES) {
      const lane = this.#lanes[name];
      for (let place = lane.waiting.first; place !== null; place = lane.waiting.first) {
        const ticket = place.value;
        while (ticket.nextText < ticket.request.texts.length) {
          const piece = nextPiece(ticket);
          const isRoom =
            lane.windowTexts + (piece.to - piece.from) <= WINDOW_TEXTS_MAX &&
            lane.windowBytes + piece.bytes <= WINDOW_BYTES_MAX;
          // An empty window takes any piece, else a very long text would wait for ever.
          if (!isRoom && lane.windowTexts > 0) break;
          const id = this.#sent.add(piece);
          if (!send(id, ticket, piece.from, piece.to)) {
            this.#sent.take(id);
            return;
          }
          lane.windowTexts += piece.to - piece.from;
          lane.windowBytes += piece.bytes;
          ticket.nextText = piece.to;
        }
        if (ticket.nextText < ticket.request.texts.length) break;
        lane.waiting.remove(place);
      }
    }
  }

  /** The process answered a piece: its room in the window is free. undefined: it owes no such answer. */
  takeSent(id: number): SentPiece | undefined {
    const piece = this.#sent.take(id);
    if (piece === undefined) return undefined;
    const lane = this.#lanes[piece.ticket.request.lane];
    lane.windowTexts -= piece.to - piece.from;
    lane.windowBytes -= piece.bytes;
    return piece;
  }

  complete(piece: SentPiece, answer: PieceVectors, dimensions: number, nowMs: number): void {
    const { ticket, from, to } = piece;
    if (ticket.settled) return;
    ticket.values.set(answer.values, from * dimensions);
    ticket.tokenCounts.set(answer.tokenCounts, from);
    ticket.truncatedCount += answer.truncatedCount;
    for (const { batch, runUs } of answer.runs) ticket.runUsOf.set(batch, runUs);
    ticket.missing -= to - from;
    if (ticket.missing > 0) return;
    this.#settle(ticket);
    const totalUs = (nowMs - ticket.startedAtMs) * 1000;
    let encodeUs = 0;
    for (const runUs of ticket.runUsOf.values()) encodeUs += runUs;
    encodeUs = Math.round(Math.min(encodeUs, totalUs));
    const { values, tokenCounts, truncatedCount } = ticket;
    ticket.resolve({
      values,
      tokenCounts,
      truncatedCount,
      encodeUs,
      queueUs: Math.round(totalUs) - encodeUs,
    });
  }

  fail(ticket: Ticket, error: SwitchyardError): void {
    if (ticket.settled) return;
    this.#settle(ticket);
    ticket.reject(error);
  }

  /** The process is gone: nothing is owed any more, and everything accepted fails, by one failure that all share. */
  failAll(error: SwitchyardError): void {
    this.#sent.takeAll();
    for (const name of LANES) {
      const lane = this.#lanes[name];
      lane.windowTexts = 0;
      lane.windowBytes = 0;
      for (const { value: ticket } of lane.open.places()) this.fail(ticket, error);
    }
  }

  /** Ids of the pieces of a request that the process still has. */
  *sentOf(ticket: Ticket): Generator<number> {
    for (const [id, piece] of this.#sent.entries()) if (piece.ticket === ticket) yield id;
  }

  #settle(ticket: Ticket): void {
    const lane = this.#lanes[ticket.request.lane];
    ticket.settled = true;
    ticket.cancelTimer();
    if (ticket.openPlace !== null) lane.open.remove(ticket.openPlace);
    if (ticket.waitingPlace !== null) lane.waiting.remove(ticket.waitingPlace);
    lane.bytes -= ticket.bytes;
    lane.texts -= ticket.request.texts.length;
  }
}

export function openTicket(
  request: EncodeRequest,
  textBytes: Uint32Array,
  dimensions: number,
  startedAtMs: number,
  resolve: Ticket['resolve'],
  reject: Ticket['reject'],
): Ticket {
  const count = request.texts.length;
  return {
    request,
    startedAtMs,
    textBytes,
    bytes: sumOf(textBytes),
    values: new Float32Array(count * dimensions),
    tokenCounts: new Uint32Array(count),
    runUsOf: new Map(),
    resolve,
    reject,
    truncatedCount: 0,
    missing: count,
    nextText: 0,
    settled: false,
    cancelTimer: ignore,
    openPlace: null,
    waitingPlace: null,
  };
}

const sumOf = (numbers: Uint32Array): number => numbers.reduce((sum, of) => sum + of, 0);

function ignore(): void {
  // A request without a deadline has no timer.
}

function nextPiece(ticket: Ticket): SentPiece {
  const from = ticket.nextText;
  let to = from;
  let bytes = 0;
  while (to < ticket.textBytes.length && to - from < PIECE_TEXTS_MAX) {
    const textBytes = ticket.textBytes[to] ?? 0;
    if (to > from && bytes + textBytes > PIECE_BYTES_MAX) break;
    bytes += textBytes;
    to += 1;
  }
  return { ticket, from, to, bytes };
}
