import { SwitchyardError } from '../../errors.js';
import { Slots } from '../../process/slots.js';
import { LANES, type Lane } from '../../vocabulary.js';
import type { IndexAnswer } from '../search-index.js';

/** One search that the child was sent, until the child has answered it. */
export interface Flight {
  readonly lane: Lane;
  /** What it may hold in either process: its vector, and the answer as large as it is likely to be. */
  readonly bytes: number;
  readonly topK: number;
  readonly withDocument: boolean;
  readonly startedAtMs: number;
  readonly resolve: (answer: IndexAnswer) => void;
  readonly reject: (error: SwitchyardError) => void;
  cancelTimer: () => void;
  /** Nobody waits any more, although the child still owes the answer. */
  settled: boolean;
}

export interface FlightBounds {
  /** Answers owed per lane. */
  readonly queueLengthMax: number;
  /** Bytes of all of them. */
  readonly inFlightBytesMax: number;
}

/**
 * What the child owes. A search whose deadline passed is told so at once, and keeps its place here until the child
 * has answered it or is gone: what a stopped child can hold is bounded by what it owes, not by who still waits.
 */
export class InFlight {
  readonly #bounds: FlightBounds;
  readonly #flights = new Slots<Flight>();
  readonly #owed: Record<Lane, number> = { live: 0, shadow: 0, bulk: 0 };
  #bytes = 0;

  constructor(bounds: FlightBounds) {
    this.#bounds = bounds;
  }

  get owed(): number {
    return this.#flights.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isIdle(): boolean {
    for (const flight of this.#flights) if (!flight.settled) return false;
    return true;
  }

  /** Null, or QUEUE_FULL naming the bound. */
  refusal(lane: Lane, bytes: number): SwitchyardError | null {
    const { queueLengthMax, inFlightBytesMax } = this.#bounds;
    if (this.#owed[lane] >= queueLengthMax)
      return full(lane, 'queueLengthMax', `${this.#owed[lane]} ${lane} searches`, queueLengthMax);
    // Alone, any search may go: there is an end to what one can ask for.
    if (this.#flights.size > 0 && this.#bytes + bytes > inFlightBytesMax)
      return full(lane, 'inFlightBytesMax', `${this.#bytes} bytes of searches and answers`, inFlightBytesMax);
    return null;
  }

  add(flight: Flight): number {
    const id = this.#flights.add(flight);
    this.#owed[flight.lane]++;
    this.#bytes += flight.bytes;
    return id;
  }

  /** The child answered. undefined: it owes no such answer. */
  take(id: number): Flight | undefined {
    const flight = this.#flights.take(id);
    if (flight === undefined) return undefined;
    this.#owed[flight.lane]--;
    this.#bytes -= flight.bytes;
    return flight;
  }

  /** The child is gone, and owes nothing any more. */
  failAll(error: () => SwitchyardError): number {
    const flights = this.#flights.takeAll();
    this.#bytes = 0;
    for (const lane of LANES) this.#owed[lane] = 0;
    let failed = 0;
    for (const flight of flights) if (settle(flight, () => flight.reject(error()))) failed++;
    return failed;
  }
}

/** Ends a search for its caller, once. False when that was done before. */
export function settle(flight: Flight, end: () => void): boolean {
  if (flight.settled) return false;
  flight.settled = true;
  flight.cancelTimer();
  end();
  return true;
}

const full = (lane: Lane, bound: string, what: string, limit: number): SwitchyardError =>
  new SwitchyardError(
    'QUEUE_FULL',
    `the index process owes answers to ${what}, its bound is ${limit}; send fewer at once, or try again later`,
    { details: { lane, bound, limit: String(limit) } },
  );
