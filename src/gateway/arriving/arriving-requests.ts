import type { EventEmitter } from 'node:events';
import { SwitchyardError } from '../../errors.js';
import { LinkedList, type Place } from '../../process/linked-list.js';
import type { Timers } from '../../process/timers.js';
import { LineLimit } from '../../telemetry/line-limit.js';
import type { Logger } from '../../telemetry/log.js';
import type { ListenerName } from '../bind.js';

/** Where a request keeps its place: a map by request would be paid for at every collection of garbage. */
export const ARRIVING: unique symbol = Symbol('arriving');

/** What a request comes on: a stream of HTTP/2 or a message of HTTP/1.1. */
export interface Inbound extends EventEmitter {
  readonly readableEnded: boolean;
  /** Of a stream: it was answered, so what still comes of it is forgotten. */
  readonly headersSent?: boolean;
  /** Of a stream: it was refused, or answered to its end. */
  readonly writableEnded?: boolean;
  [ARRIVING]?: Place<Arriving>;
}

/** What the requests of one listener have in common. */
export interface ArrivalFace {
  readonly listener: ListenerName;
  /** Ends a request that is not to arrive: its client is told, if nothing was said to it yet. */
  end(request: Arriving, error: SwitchyardError): void;
  /** Whether this is watched here, and not by the listener's own server. */
  readonly isTimed: boolean;
}

/** A request that has not arrived whole. */
export interface Arriving {
  readonly inbound: Inbound;
  readonly face: ArrivalFace;
  /** What its face needs to end it: the path of a call over gRPC, the id of a request over HTTP. */
  readonly knownAs: string;
  /** A stream of many messages, which has not said its last word for as long as it is open. */
  readonly isDialogue: boolean;
  /** Of a dialogue: nothing of a message is on its way. */
  isIdle: boolean;
  sinceMs: number;
  /** What is held for it alone. */
  bytes: number;
  /** What its last piece is a slice of. */
  read: NetworkRead | null;
  /** The same of the pieces before; null for most, which come in one read. */
  earlier: NetworkRead[] | null;
}

/**
 * What the network was read into at once, up to 64 KiB of one connection: Node gives out slices of it, so whoever holds
 * a byte holds all.
 */
interface NetworkRead {
  readonly bytes: number;
  holders: number;
}

export interface ArrivingLimits {
  /** Bytes of requests that have not arrived whole, of all connections of this process. */
  readonly bytesMax: number;
  /** A request has so long to arrive. */
  readonly arrivalMsMax: number;
}

/** For metrics: bytes that are held now at most, and requests that were ended to make room, by listener. */
export interface ArrivingCounts {
  readonly bytes: number;
  readonly ended: ReadonlyMap<ListenerName, number>;
}

/** A stream or message with its headers, which are 16 kB at most. */
const REQUEST_BYTES = 16_384;
/** What the objects around a piece cost, however small it is. */
const PIECE_BYTES = 256;
/** What is freed of the memory when it is used up, so that this is not done for every piece that comes. */
const FREED_SHARE = 0.25;
const LOOKS_PER_LIMIT = 6;
const LINES_PER_S_MAX = 1;

/**
 * The requests of this process that have begun and not arrived whole. Each is bounded by its size, but a client has a
 * thousand streams on each connection, and half a request holds its bytes for as long as it may take. Beyond the memory
 * for all of them whoever held most of it for longest is ended. Counted is what is really held, whole reads of the
 * network, once however many requests hold them. A request costs a place in a list and three listeners that all share.
 */
export class ArrivingRequests {
  readonly #limits: ArrivingLimits;
  readonly #timers: Timers;
  readonly #log: Logger;
  readonly #arriving = new LinkedList<Arriving>();
  readonly #ended = new Map<ListenerName, number>();
  readonly #lines = new LineLimit(LINES_PER_S_MAX);
  #bytes = 0;
  /** The last one, and what it is: the pieces of one read come one after another. */
  #read: NetworkRead | null = null;
  #readInto: ArrayBufferLike | null = null;
  #stopLooking: (() => void) | null = null;

  constructor(limits: ArrivingLimits, timers: Timers, log: Logger) {
    this.#limits = limits;
    this.#timers = timers;
    this.#log = log;
  }

  get counts(): ArrivingCounts {
    return { bytes: this.#bytes, ended: this.#ended };
  }

  /** A request begins; before anybody else hears of its pieces. */
  add(inbound: Inbound, face: ArrivalFace, knownAs: string, isDialogue = false): void {
    if (this.#bytes + REQUEST_BYTES > this.#limits.bytesMax) this.#makeRoom();
    inbound[ARRIVING] = this.#arriving.add({
      inbound,
      face,
      knownAs,
      isDialogue,
      isIdle: isDialogue,
      sinceMs: this.#timers.nowMs(),
      bytes: REQUEST_BYTES,
      read: null,
      earlier: null,
    });
    this.#bytes += REQUEST_BYTES;
    inbound.on('data', this.#onPiece);
    inbound.on('end', this.#onOver);
    inbound.on('close', this.#onOver);
    this.#stopLooking ??= this.#timers.after(this.#lookMs, this.#look);
  }

  /** It has arrived, or what still comes of it is forgotten. */
  over(inbound: Inbound): void {
    const place = inbound[ARRIVING];
    if (place === undefined || !this.#arriving.remove(place)) return;
    this.#release(place.value);
    this.#bytes -= REQUEST_BYTES;
    if (this.#arriving.size > 0) return;
    this.#read = null;
    this.#readInto = null;
  }

  /**
   * Of a dialogue: a message has begun to arrive, or the last one is whole. `rest`: the piece that came last, where a part
   * of a message is in it; null where nothing of one is on its way.
   */
  turn(inbound: Inbound, rest: Buffer | null): void {
    const place = inbound[ARRIVING];
    if (place?.isListed !== true) return;
    const one = place.value;
    one.isIdle = rest === null;
    this.#release(one);
    this.#renew(place);
    if (rest !== null) this.#count(one, rest);
  }

  /** Whether there is a request over these listeners that may still arrive and be answered. Dialogues have no end, and do not count. */
  isAwaited(listeners: ReadonlySet<ListenerName>): boolean {
    for (let place = this.#arriving.first; place !== null; place = place.after) {
      const { inbound, face, isDialogue } = place.value;
      if (!isDialogue && inbound.headersSent !== true && listeners.has(face.listener)) return true;
    }
    return false;
  }

  close(): void {
    this.#stopLooking?.();
    this.#stopLooking = null;
  }

  /** Made once, with the request as `this`: closures of each one's own would be garbage of every request. */
  readonly #onPiece = this.#pieceHandler();
  readonly #onOver = this.#overHandler();

  #pieceHandler(): (this: Inbound, piece: Buffer) => void {
    const ledger = this;
    return function onPiece(this: Inbound, piece: Buffer) {
      const place = this[ARRIVING];
      if (place?.isListed === true) ledger.#count(place.value, piece);
    };
  }

  #overHandler(): (this: Inbound) => void {
    const ledger = this;
    return function onOver(this: Inbound) {
      ledger.over(this);
    };
  }

  #count(one: Arriving, piece: Buffer): void {
    if (isForgotten(one)) return;
    one.bytes += PIECE_BYTES;
    this.#bytes += PIECE_BYTES;
    const read = this.#readOf(piece);
    if (read !== one.read) {
      if (read.holders++ === 0) this.#bytes += read.bytes;
      if (one.read !== null) {
        one.earlier ??= [];
        one.earlier.push(one.read);
      }
      one.read = read;
    }
    if (this.#bytes > this.#limits.bytesMax) this.#makeRoom();
  }

  #readOf({ buffer }: Buffer): NetworkRead {
    if (this.#read === null || this.#readInto !== buffer) {
      this.#read = { bytes: buffer.byteLength, holders: 0 };
      this.#readInto = buffer;
    }
    return this.#read;
  }

  /** Nothing is held of its pieces any more. */
  #release(one: Arriving): void {
    const { read, earlier } = one;
    if (read !== null && --read.holders === 0) this.#bytes -= read.bytes;
    if (earlier !== null) for (const other of earlier) if (--other.holders === 0) this.#bytes -= other.bytes;
    this.#bytes -= one.bytes - REQUEST_BYTES;
    one.bytes = REQUEST_BYTES;
    one.read = null;
    one.earlier = null;
  }

  /** Ends what held most for longest until there is room again, and some more. */
  #makeRoom(): void {
    const room = this.#limits.bytesMax * (1 - FREED_SHARE);
    const nowMs = this.#timers.nowMs();
    const weightOf = (one: Arriving): number => heldBytes(one) * (nowMs - one.sinceMs + 1);
    const heaviest = this.#arriving.places().map((place) => ({ place, weight: weightOf(place.value) }));
    heaviest.sort((one, other) => other.weight - one.weight);
    for (const { place } of heaviest) {
      if (this.#bytes <= room) break;
      if (place.isListed) this.#end(place, nowMs);
    }
  }

  #end(place: Place<Arriving>, nowMs: number): void {
    const one = place.value;
    const { listener } = one.face;
    this.#ended.set(listener, (this.#ended.get(listener) ?? 0) + 1);
    if (this.#lines.takes(nowMs))
      this.#log.warn(
        { listener, bytes: Math.round(heldBytes(one)), sinceMs: Math.round(nowMs - one.sinceMs) },
        'a request that had not arrived whole was ended, to make room for others',
      );
    this.over(one.inbound);
    one.face.end(one, noRoom(this.#limits.bytesMax));
  }

  readonly #look = (): void => {
    const { arrivalMsMax } = this.#limits;
    const nowMs = this.#timers.nowMs();
    for (let oldest = this.#arriving.first; oldest !== null; oldest = this.#arriving.first) {
      const one = oldest.value;
      if (nowMs - one.sinceMs < arrivalMsMax) break;
      if ((one.isIdle && !isForgotten(one)) || !one.face.isTimed) this.#renew(oldest);
      else {
        this.over(one.inbound);
        if (!one.inbound.readableEnded) one.face.end(one, late());
      }
    }
    this.#stopLooking = this.#arriving.size === 0 ? null : this.#timers.after(this.#lookMs, this.#look);
  };

  /** From now on, and so behind all others. */
  #renew(place: Place<Arriving>): void {
    const one = place.value;
    this.#arriving.remove(place);
    one.sinceMs = this.#timers.nowMs();
    one.inbound[ARRIVING] = this.#arriving.add(one);
  }

  get #lookMs(): number {
    return this.#limits.arrivalMsMax / LOOKS_PER_LIMIT;
  }
}

/** It has its answer, a dialogue its last one: what still comes of it is read and forgotten. */
const isForgotten = ({ inbound, isDialogue }: Arriving): boolean =>
  (isDialogue ? inbound.writableEnded : inbound.headersSent) === true;

/** Of a read that others hold too, its share. */
function heldBytes({ bytes, read, earlier }: Arriving): number {
  const shareOf = ({ bytes, holders }: NetworkRead): number => bytes / holders;
  let sum = bytes + (read === null ? 0 : shareOf(read));
  if (earlier !== null) for (const one of earlier) sum += shareOf(one);
  return sum;
}

const late = (): SwitchyardError =>
  new SwitchyardError('REQUEST_TOO_SLOW', 'the request did not arrive in time');

const noRoom = (max: number): SwitchyardError =>
  new SwitchyardError(
    'QUEUE_FULL',
    `requests that had not arrived whole took all the memory there is for them (limits.arriving_bytes_max ${max}), this one for long: send it again, in one go`,
    { details: { max: String(max) } },
  );
