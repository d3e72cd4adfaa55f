import type { Duplex } from 'node:stream';
import { SwitchyardError } from '../errors.js';
import { encodeFrameHeader, type Frame, FrameParser } from './frames.js';

/**
 * How a channel ended. `ended`: the other side closed it or is gone, perhaps inside a frame. `stream`: the pipe
 * broke. `protocol`: the other side sent bytes that are no frames.
 */
export type ChannelEnd =
  | { readonly kind: 'ended' }
  | { readonly kind: 'stream'; readonly code: string }
  | { readonly kind: 'protocol'; readonly error: SwitchyardError };

export interface FrameChannelOptions {
  /** One end of a socketpair. The channel owns it from now on. */
  readonly socket: Duplex;
  /** A longer frame is an error on either side. */
  readonly payloadBytesMax: number;
  /** Bytes that may wait in this process for an other side that does not read. */
  readonly bufferedBytesMax: number;
  readonly onFrame: (frame: Frame) => void;
  /** Room again after `send` answered `full`. */
  readonly onDrain: () => void;
  /** Once. No frame comes after it. */
  readonly onClosed: (end: ChannelEnd) => void;
}

/** `full`: not sent, the other side does not keep up; try again at `onDrain`. `closed`: not sent, there is no other side. */
export type SendOutcome = 'sent' | 'full' | 'closed';

/** Below this size a part is copied into one buffer with its neighbours: each part of a gathered write costs microseconds. */
const COPY_BYTES_MAX = 16_384;

/** Frames over one end of a socketpair, with a bound on what waits for a reader that is stopped. */
export class FrameChannel {
  readonly #options: FrameChannelOptions;
  readonly #socket: Duplex;
  readonly #parser: FrameParser;
  #open = true;
  #ended = false;
  /** Small parts that leave together, while `together` works. */
  #held: Uint8Array[] | null = null;
  #heldBytes = 0;

  constructor(options: FrameChannelOptions) {
    this.#options = options;
    this.#socket = options.socket;
    this.#parser = new FrameParser(options.payloadBytesMax);
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    this.#socket.on('drain', () => {
      if (this.#open) options.onDrain();
    });
    this.#socket.on('end', () => this.#close({ kind: 'ended' }));
    this.#socket.on('close', () => this.#close({ kind: 'ended' }));
    this.#socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#close({ kind: 'stream', code: error.code ?? 'unknown' });
    });
  }

  /** Bytes that wait in this process to be written. */
  get bufferedBytes(): number {
    return this.#socket.writableLength + this.#heldBytes;
  }

  /** Errors: INTERNAL when the payload is longer than a frame may be. */
  send(kind: number, id: number, parts: readonly Uint8Array[] = []): SendOutcome {
    let payloadBytes = 0;
    for (const part of parts) payloadBytes += part.byteLength;
    if (payloadBytes > this.#options.payloadBytesMax)
      throw new SwitchyardError(
        'INTERNAL',
        `a frame of ${payloadBytes} bytes must be <= ${this.#options.payloadBytesMax}`,
      );
    if (!this.#open || this.#ended || !this.#socket.writable) return 'closed';
    const buffered = this.bufferedBytes;
    if (buffered > 0 && buffered + payloadBytes > this.#options.bufferedBytesMax) return 'full';
    const header = encodeFrameHeader(kind, id, payloadBytes);
    this.together(() => {
      this.#write(header);
      for (const part of parts) this.#write(part);
    });
    return 'sent';
  }

  /**
   * What `work` sends leaves in one write, so that the other side wakes once for all of it. What it sends is not to be
   * changed before `work` returns.
   */
  together(work: () => void): void {
    if (this.#held !== null) {
      work();
      return;
    }
    this.#held = [];
    this.#socket.cork();
    try {
      work();
    } finally {
      this.#writeHeld(this.#held);
      this.#held = null;
      this.#socket.uncork();
    }
  }

  #write(part: Uint8Array): void {
    if (this.#held === null) return;
    if (part.byteLength > COPY_BYTES_MAX) {
      this.#writeHeld(this.#held);
      this.#socket.write(part);
      return;
    }
    this.#held.push(part);
    this.#heldBytes += part.byteLength;
  }

  #writeHeld(held: Uint8Array[]): void {
    const [first] = held;
    if (first !== undefined && this.#socket.writable)
      this.#socket.write(held.length === 1 ? first : Buffer.concat(held, this.#heldBytes));
    held.length = 0;
    this.#heldBytes = 0;
  }

  /** No more is sent; the other side sees the end once it has read everything. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.end();
  }

  /** Drops the stream and what waits in it. */
  destroy(): void {
    this.#open = false;
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    if (!this.#open) return;
    try {
      this.#parser.push(chunk, (frame) => {
        // A handler may have destroyed the channel; frames behind it in the same chunk belong to nobody.
        if (this.#open) this.#options.onFrame(frame);
      });
    } catch (error) {
      // What a handler throws because of the other side's bytes is the other side's fault; the rest is a bug, and loud.
      if (!(error instanceof SwitchyardError)) throw error;
      this.#close({ kind: 'protocol', error });
    }
  }

  #close(end: ChannelEnd): void {
    if (!this.#open) return;
    this.#open = false;
    this.#socket.destroy();
    this.#options.onClosed(end);
  }
}
