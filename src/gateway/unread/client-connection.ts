import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { LinkedList, type Place } from '../../process/linked-list.js';
import type { ListenerName } from '../bind.js';

/** Where an answer keeps its place: a map by answer would be paid for at every collection of garbage. */
export const HELD: unique symbol = Symbol('held');

/** What an answer is written to: a stream of HTTP/2 or a response of HTTP/1.1. */
export interface Answer extends EventEmitter {
  readonly destroyed: boolean;
  /** Bytes that were written to it and did not leave yet. */
  readonly writableLength: number;
  /** Of a response of HTTP/1.1: null while one before it, on its connection, has not been written. */
  readonly socket?: Socket | null;
  [HELD]?: Place<HeldAnswer>;
}

export interface HeldAnswer {
  readonly answer: Answer;
  readonly connection: ClientConnection;
  /** At most so many are unread, with what it costs itself. */
  bytes: number;
}

/** What an unread answer costs beside its bytes: a stream of HTTP/2 with the call that grpc-js makes of it. Measured. */
export const ANSWER_BYTES = 8_192;
/** While less than this left since the last count, another would find what that one found. */
const COUNTED_BYTES_MIN = 16_384;
/** Less than this many bytes a second, over the whole of the time it may take, and a client does not read. */
const READ_BYTES_PER_S_MIN = 1_024;

/** Why a client was hung up on: `stalled` read nothing for too long, `memory` made room for the answers of others. */
export type HangUpReason = 'stalled' | 'memory';

/** Of one listener. */
export interface HangUps extends Record<HangUpReason, number> {
  readonly listener: ListenerName;
}

/** One client's connection: the answers that it did not read yet, and since when it reads nothing. */
export class ClientConnection {
  readonly socket: Socket;
  readonly hangUps: HangUps;
  readonly answers = new LinkedList<HeldAnswer>();
  /** Of the answers together, at most. */
  bytes = 0;
  /** Its place among those that have not read everything; null: it has, or is gone. */
  place: Place<ClientConnection> | null = null;
  /** An answer was refused, and nothing was read since: whatever is asked is not worth doing. */
  isFull = false;
  /** It was hung up on, or hung up. */
  isGone = false;
  #readingAtMs = 0;
  #sentBytes = 0;
  #countedAtSentBytes = 0;
  #hasTurn = false;

  constructor(socket: Socket, hangUps: HangUps) {
    this.socket = socket;
    this.hangUps = hangUps;
  }

  /** When it was last seen to read. */
  get readingAtMs(): number {
    return this.#readingAtMs;
  }

  /** It has something to read from now on. */
  begin(nowMs: number): void {
    this.#readingAtMs = nowMs;
    this.#sentBytes = sentBytes(this.socket);
  }

  /** Looks whether it reads: what the kernel took for it counts as read. */
  look(nowMs: number): void {
    const sent = sentBytes(this.socket);
    const wanted = Math.max(1, ((nowMs - this.#readingAtMs) / 1_000) * READ_BYTES_PER_S_MIN);
    if (sent - this.#sentBytes < wanted) return;
    this.#readingAtMs = nowMs;
    this.#sentBytes = sent;
  }

  /** The gateway itself did not look for so long, in which nothing could be read. */
  excuse(lateMs: number, nowMs: number): void {
    this.#readingAtMs = Math.min(nowMs, this.#readingAtMs + lateMs);
  }

  /** Its answers wait for one before them that is still worked on: there is nothing to read. Of the last count. */
  get isWaiting(): boolean {
    return this.answers.size > 0 && !this.#hasTurn;
  }

  /** Whether enough left since the last count to make another worth its while. */
  get isWorthCounting(): boolean {
    return sentBytes(this.socket) - this.#countedAtSentBytes >= COUNTED_BYTES_MIN;
  }

  /** Counts again what is unread. Returns by how much less that is than was thought. */
  recount(): number {
    let bytes = 0;
    this.#hasTurn = false;
    this.#countedAtSentBytes = sentBytes(this.socket);
    for (let place = this.answers.first; place !== null; ) {
      const { after, value } = place;
      const left = value.answer.destroyed ? 0 : value.answer.writableLength;
      if (left === 0) this.answers.remove(place);
      else {
        value.bytes = Math.min(value.bytes, left + ANSWER_BYTES);
        bytes += value.bytes;
        if (value.answer.socket !== null) this.#hasTurn = true;
      }
      place = after;
    }
    const less = this.bytes - bytes;
    this.bytes = bytes;
    if (less > 0) this.isFull = false;
    return less;
  }
}

interface Handle {
  readonly bytesWritten?: number;
  readonly writeQueueSize?: number;
}

/** What the kernel took: under TLS and HTTP/2 only the handle knows, and it counts at once what it still has to write. */
export function sentBytes(socket: Socket): number {
  const handle = (socket as unknown as { _handle?: Handle | null })._handle;
  return (handle?.bytesWritten ?? socket.bytesWritten) - (handle?.writeQueueSize ?? 0);
}
