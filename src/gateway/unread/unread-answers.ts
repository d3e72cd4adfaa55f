import { SwitchyardError } from '../../errors.js';
import { LinkedList } from '../../process/linked-list.js';
import type { Timers } from '../../process/timers.js';
import { LineLimit } from '../../telemetry/line-limit.js';
import type { Logger } from '../../telemetry/log.js';
import type { ListenerName } from '../bind.js';
import {
  ANSWER_BYTES,
  type Answer,
  type ClientConnection,
  type HangUpReason,
  HELD,
} from './client-connection.js';

export interface UnreadLimits {
  /** Bytes of answers that one connection may have unread; to one that has none any answer is given. */
  readonly connectionBytesMax: number;
  /** The same of all connections of this process. */
  readonly bytesMax: number;
  /** A client that reads nothing for so long is hung up on. */
  readonly sendTimeoutMs: number;
}

/** How often is looked who reads, while anybody has something to read. */
const LOOK_MS_MAX = 1_000;
const LOOKS_PER_TIMEOUT = 8;
/**
 * What is freed of the memory when it is used up, so that this is not done for every answer. An answer that is larger
 * than this makes no room by hanging up on those who read.
 */
const FREED_SHARE = 0.25;
/** All are counted again once in so long, unless what was written since is a larger part of the memory than this. */
const COUNT_MS_MIN = 10;
const UNCOUNTED_SHARE = 1 / 64;
const LINES_PER_S_MAX = 1;
/** By then a client that reads has room again. */
const RETRY_AFTER_MS = 1_000;

/**
 * The answers of this process that are written and do not leave, since their clients do not read. Neither protocol
 * bounds them, and over HTTP/2 a client can ask for a thousand and let none of them go. A connection with too much
 * unread is given no more; one that reads nothing is hung up on after a while, and at once where the memory for all of
 * them is used up: first whoever holds most for longest without reading. One answer that is larger than all this memory is
 * refused. An answer costs a place in a list, and one timer serves them all.
 */
export class UnreadAnswers {
  readonly #limits: UnreadLimits;
  readonly #timers: Timers;
  readonly #log: Logger;
  readonly #reading = new LinkedList<ClientConnection>();
  #bytes = 0;
  #stopLooking: (() => void) | null = null;
  #lookAtMs = 0;
  #countedAtMs = Number.NEGATIVE_INFINITY;
  /** The least that was refused room by the last count of all. */
  #refusedBytes = Number.POSITIVE_INFINITY;
  readonly #lines = new LineLimit(LINES_PER_S_MAX);

  constructor(limits: UnreadLimits, timers: Timers, log: Logger) {
    this.#limits = limits;
    this.#timers = timers;
    this.#log = log;
  }

  /** Of all connections, at most, with what each answer costs beside its bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The same of these listeners, counted again. */
  recount(listeners: ReadonlySet<ListenerName>): number {
    let bytes = 0;
    for (const { value } of this.#reading.places()) {
      this.#recount(value);
      if (listeners.has(value.hangUps.listener)) bytes += value.bytes;
    }
    return bytes;
  }

  /** Null where the connection may ask for more, else ANSWERS_UNREAD. */
  refusal(connection: ClientConnection): SwitchyardError | null {
    const { connectionBytesMax } = this.#limits;
    if (!connection.isFull || connection.isGone) return null;
    if (connection.isWorthCounting) this.#recount(connection);
    return connection.isFull ? unread(connection.bytes, connectionBytesMax) : null;
  }

  /**
   * Counts an answer that is about to be written. For one that is not to be: ANSWERS_UNREAD; REQUEST_TOO_LARGE where it
   * is larger than what all may have unread; QUEUE_FULL where room for it could be had from those only who read.
   */
  take(connection: ClientConnection, answer: Answer, bytes: number): SwitchyardError | null {
    if (connection.isGone || answer.destroyed) return null; // what is written now goes nowhere
    const { connectionBytesMax, bytesMax } = this.#limits;
    const held = answer[HELD]?.isListed === true ? bytes : bytes + ANSWER_BYTES;
    if (connection.bytes > 0 && connection.bytes + held > connectionBytesMax) {
      this.#recount(connection);
      if (connection.bytes > 0 && connection.bytes + held > connectionBytesMax) {
        connection.isFull = true;
        return unread(connection.bytes, connectionBytesMax);
      }
    }
    const refused = this.#bytes + held > bytesMax ? this.#makeRoom(bytes, held) : null;
    if (refused !== null) return refused;
    if (!connection.isGone) this.#hold(connection, answer, bytes);
    return null;
  }

  /** A connection that is closed. */
  forget(connection: ClientConnection): void {
    connection.isGone = true;
    if (connection.place !== null) this.#reading.remove(connection.place);
    connection.place = null;
    this.#bytes -= connection.bytes;
    connection.bytes = 0;
  }

  close(): void {
    this.#stopLooking?.();
    this.#stopLooking = null;
  }

  #hold(connection: ClientConnection, answer: Answer, bytes: number): void {
    const known = answer[HELD];
    let held = bytes;
    if (known?.isListed === true) known.value.bytes += bytes;
    else {
      // Only streams that are written to more than once come here again.
      if (known === undefined) answer.on('close', this.#onClose);
      held += ANSWER_BYTES;
      answer[HELD] = connection.answers.add({ answer, connection, bytes: held });
    }
    connection.bytes += held;
    this.#bytes += held;
    if (connection.place !== null) return;
    const nowMs = this.#timers.nowMs();
    connection.begin(nowMs);
    connection.place = this.#reading.add(connection);
    if (this.#stopLooking === null) this.#planLook(nowMs);
  }

  /** Made once, with the answer as `this`: a closure of each one's own would be garbage of every request. */
  readonly #onClose = this.#closeHandler();

  #closeHandler(): (this: Answer) => void {
    const ledger = this;
    return function onClose(this: Answer) {
      const place = this[HELD];
      if (place === undefined) return;
      const { connection, bytes } = place.value;
      if (!connection.answers.remove(place) || connection.isGone) return;
      connection.bytes -= bytes;
      connection.isFull = false;
      ledger.#bytes -= bytes;
      if (connection.answers.size > 0 || connection.place === null) return;
      ledger.#reading.remove(connection.place);
      connection.place = null;
    };
  }

  #recount(connection: ClientConnection): void {
    this.#bytes -= connection.recount();
    if (connection.answers.size > 0 || connection.place === null) return;
    this.#reading.remove(connection.place);
    connection.place = null;
  }

  /**
   * Hangs up until an answer of so many bytes fits, and some more with a small one; on nobody where it is refused.
   * `held`: with what it costs beside them.
   */
  #makeRoom(bytes: number, held: number): SwitchyardError | null {
    const { bytesMax } = this.#limits;
    if (bytes > bytesMax) return tooLarge(bytes, bytesMax);
    const nowMs = this.#timers.nowMs();
    const isLarge = bytes > bytesMax * FREED_SHARE;
    if (nowMs - this.#countedAtMs < COUNT_MS_MIN) {
      if (isLarge && bytes >= this.#refusedBytes) return noRoom(bytes, bytesMax);
      if (!isLarge && this.#bytes + held <= bytesMax * (1 + UNCOUNTED_SHARE)) return null;
    }
    this.#countedAtMs = nowMs;
    this.#refusedBytes = Number.POSITIVE_INFINITY;
    for (const { value } of this.#reading.places()) {
      this.#recount(value);
      value.look(nowMs);
    }
    const room = Math.max(0, bytesMax - held);
    if (this.#bytes <= room) return null;
    let candidates = this.#reading.places().map(({ value }) => value);
    if (isLarge) {
      candidates = candidates.filter(({ readingAtMs }) => nowMs - readingAtMs > this.#lookMs);
      const free = candidates.reduce((sum, connection) => sum + connection.bytes, 0);
      if (this.#bytes - free > room) {
        this.#refusedBytes = bytes;
        return noRoom(bytes, bytesMax);
      }
    }
    // Neither who was answered a moment ago nor who holds much and reads goes before who holds much and does not.
    const heldMs = ({ bytes, readingAtMs }: ClientConnection): number =>
      bytes * Math.max(1, nowMs - readingAtMs);
    candidates.sort((one, other) => heldMs(other) - heldMs(one));
    const enough = isLarge ? room : bytesMax * (1 - FREED_SHARE) - held;
    for (const connection of candidates) {
      if (this.#bytes <= enough) break;
      this.#hangUp(connection, 'memory', nowMs);
    }
    return null;
  }

  #planLook(nowMs: number): void {
    this.#lookAtMs = nowMs + this.#lookMs;
    this.#stopLooking = this.#timers.after(this.#lookMs, this.#look);
  }

  readonly #look = (): void => {
    const nowMs = this.#timers.nowMs();
    // What a stopped or busy gateway did not give to the kernel, nobody could read.
    const lateMs = Math.max(0, nowMs - this.#lookAtMs);
    for (const { value } of this.#reading.places()) {
      this.#recount(value);
      if (value.place === null) continue;
      value.excuse(lateMs, nowMs);
      if (value.isWaiting) value.begin(nowMs);
      value.look(nowMs);
      if (nowMs - value.readingAtMs >= this.#limits.sendTimeoutMs) this.#hangUp(value, 'stalled', nowMs);
    }
    if (this.#reading.size > 0) this.#planLook(nowMs);
    else this.#stopLooking = null;
  };

  get #lookMs(): number {
    return Math.min(LOOK_MS_MAX, this.#limits.sendTimeoutMs / LOOKS_PER_TIMEOUT);
  }

  #hangUp(connection: ClientConnection, reason: HangUpReason, nowMs: number): void {
    const { hangUps, bytes, readingAtMs } = connection;
    hangUps[reason]++;
    if (this.#lines.takes(nowMs))
      this.#log.warn(
        { listener: hangUps.listener, reason, unreadBytes: bytes, sinceMs: Math.round(nowMs - readingAtMs) },
        'a client that does not read its answers was hung up on',
      );
    this.forget(connection);
    connection.socket.destroy();
  }
}

const unread = (bytes: number, max: number): SwitchyardError =>
  new SwitchyardError(
    'ANSWERS_UNREAD',
    `the connection has ${bytes} bytes of answers that were not read, must be <= ${max}: read them before asking for more, or ask for less at once`,
    { details: { max: String(max) }, retryAfterMs: RETRY_AFTER_MS },
  );

const tooLarge = (bytes: number, max: number): SwitchyardError =>
  new SwitchyardError(
    'REQUEST_TOO_LARGE',
    `the answer has ${bytes} bytes, it must be <= ${max} (limits.unread_bytes_max); ask for fewer documents, or without their text`,
    { details: { bytes: String(bytes), max: String(max) } },
  );

const noRoom = (bytes: number, max: number): SwitchyardError =>
  new SwitchyardError(
    'QUEUE_FULL',
    `the answer has ${bytes} bytes, for which other clients would be hung up on that read theirs (limits.unread_bytes_max ${max}); try again later, or ask for less`,
    { details: { bytes: String(bytes), max: String(max) }, retryAfterMs: RETRY_AFTER_MS },
  );
