import { errorToFrame, SwitchyardError } from '../../errors.js';
import type { FrameChannel } from '../../process/frame-channel.js';
import type { Frame } from '../../process/frames.js';
import type { SearchIndex } from '../search-index.js';
import { encodeAnswer } from './answer-codec.js';
import { type ChildConfig, decodeSearch, encodeJson, FRAME, PAYLOAD_BYTES_MAX } from './protocol.js';

/** Answers that may wait for a parent that does not read; what comes on top is refused. */
const ANSWERS_BUFFERED_BYTES_MAX = 64 * 1024 * 1024;
/** A search without a deadline is expected to be done within this. */
const WAIT_MS_MAX = 60_000;
/** If it was this process that slept, answers lie unread: they are looked at before a search is called stuck. */
const SECOND_LOOK_MS = 1_000;

/** The child's side of the searches: hands them to its index, answers each with one frame, and watches their age. */
export class SearchServer {
  readonly #index: SearchIndex;
  readonly #channel: FrameChannel;
  readonly #config: ChildConfig;
  readonly #giveUp: (error: SwitchyardError) => void;
  readonly #alive: NodeJS.Timeout;
  #owed = 0;

  constructor(
    index: SearchIndex,
    channel: FrameChannel,
    config: ChildConfig,
    giveUp: (error: SwitchyardError) => void,
  ) {
    this.#index = index;
    this.#channel = channel;
    this.#config = config;
    this.#giveUp = giveUp;
    this.#alive = setInterval(() => {
      if (this.#owed > 0 && channel.bufferedBytes === 0) channel.send(FRAME.alive, 0);
    }, config.aliveEveryMs);
  }

  receive({ id, payload }: Frame): void {
    const message = decodeSearch(payload);
    if (message === null) {
      this.#giveUp(new SwitchyardError('INTERNAL', 'the parent sent a search that cannot be read'));
      return;
    }
    const { fingerprint, values, topK, lane, remainingMs, withDocument } = message;
    this.#owed++;
    const stopWatching = this.#watchAge(remainingMs);
    // The index checks the query itself, the fingerprint first: nothing is taken on the parent's word (invariant 1).
    this.#index
      .search({
        vector: { fingerprint, values },
        topK,
        lane,
        deadlineAtMs: performance.now() + remainingMs,
        withDocument,
      })
      .then((answer) => this.#answer(id, encodeAnswer(answer, withDocument)))
      .catch((error: unknown) => this.#refuse(id, error))
      .finally(() => {
        this.#owed--;
        stopWatching();
      });
  }

  stop(): void {
    clearInterval(this.#alive);
  }

  #answer(id: number, parts: readonly Buffer[]): void {
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    if (bytes > PAYLOAD_BYTES_MAX)
      throw new SwitchyardError(
        'REQUEST_TOO_LARGE',
        `the answer has ${bytes} bytes, it must be <= ${PAYLOAD_BYTES_MAX}; ask for fewer documents, or without their text`,
        { details: { bytes: String(bytes), limit: String(PAYLOAD_BYTES_MAX) } },
      );
    if (this.#channel.bufferedBytes + bytes > ANSWERS_BUFFERED_BYTES_MAX)
      throw new SwitchyardError(
        'QUEUE_FULL',
        `more than ${ANSWERS_BUFFERED_BYTES_MAX} bytes of answers wait for the gateway to read them; try again later`,
      );
    // Hundreds of small parts are one write when they are one buffer.
    this.#channel.send(FRAME.answer, id, [parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)]);
  }

  #refuse(id: number, error: unknown): void {
    this.#channel.send(FRAME.refused, id, [encodeJson(errorToFrame(error))]);
  }

  /** A search far beyond its deadline is one that a worker never comes back from: its links run in a circle, say. */
  #watchAge(remainingMs: number): () => void {
    const { stuckMsMax } = this.#config;
    const afterMs = Math.max(0, Math.min(remainingMs, WAIT_MS_MAX)) + stuckMsMax;
    const giveUp = (): void =>
      this.#giveUp(
        new SwitchyardError('INTERNAL', `a search is stuck: no answer ${stuckMsMax} ms after its deadline`),
      );
    let timer = setTimeout(() => {
      timer = setTimeout(giveUp, SECOND_LOOK_MS);
    }, afterMs);
    return () => clearTimeout(timer);
  }
}
