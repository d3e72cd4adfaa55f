import { fileURLToPath } from 'node:url';
import { errorFromFrame, SwitchyardError } from '../../errors.js';
import { childEnv } from '../../process/child-env.js';
import { type ChildState, describeDown } from '../../process/child-state.js';
import type { Frame } from '../../process/frames.js';
import { SupervisedChild } from '../../process/supervised-child.js';
import { digestPrefix } from '../../vocabulary.js';
import type { Bundle } from '../manifest.js';
import { checkQuery, TOP_K_MAX } from '../query-check.js';
import type { IndexAnswer, IndexQuery, SearchIndex } from '../search-index.js';
import type { ExpectedModel } from '../search-pool.js';
import { answerBytesMax, decodeAnswer } from './answer-codec.js';
import { type Flight, InFlight, settle } from './in-flight.js';
import { Opening } from './opening.js';
import type { IndexProcessSettings } from './options.js';
import {
  type ChildConfig,
  decodeError,
  encodeJson,
  encodeSearch,
  FRAME,
  PAYLOAD_BYTES_MAX,
} from './protocol.js';
import { deadlineExceeded, indexClosed, pipeFull } from './refusals.js';

/** Bytes of searches that may wait on this side of the pipe, beyond what the kernel holds. */
const BUFFERED_BYTES_MAX = 4 * 1024 * 1024;
/** A disk or an object store that hashes slower than this is not one to serve from. */
const HASH_BYTES_PER_MS_MIN = 20_000;
/** Of a hit without its id and document. */
const HIT_BYTES = 64;

/** Running totals of one index process; those of its restarts included. */
export interface ProcessIndexCounters {
  searches: number;
  failures: number;
  expired: number;
  refused: number;
}

/** One bundle in a supervised process of its own: what happens to it there happens to nobody else. */
export class ProcessIndex implements SearchIndex {
  readonly bundle: Bundle;
  readonly name: string;
  readonly counters: ProcessIndexCounters = { searches: 0, failures: 0, expired: 0, refused: 0 };
  readonly #expected: ExpectedModel;
  readonly #settings: IndexProcessSettings;
  readonly #child: SupervisedChild;
  readonly #onClosed: () => void;
  readonly #inFlight: InFlight;
  /** What one hit holds in either process, from the manifest; with its document. */
  readonly #hitBytes: number;
  readonly #documentBytes: number;
  /** How the first start ended. */
  readonly #opening = new Opening();
  #closed: Promise<void> | null = null;
  #onIdle: (() => void) | null = null;

  /** `bundle` as `readBundle` read it just now. Starts the process; `opened` tells when it can be searched. */
  constructor(bundle: Bundle, expected: ExpectedModel, settings: IndexProcessSettings, onClosed: () => void) {
    const { manifest, digest } = bundle;
    this.#onClosed = onClosed;
    this.bundle = bundle;
    this.name = `index process ${manifest.corpus}/${manifest.version}/${digestPrefix(digest)}`;
    this.#expected = expected;
    this.#settings = settings;
    this.#inFlight = new InFlight(settings);
    const stored = manifest.files['documents.jsonl']?.bytes ?? 0;
    const documentCount = Math.max(1, manifest.document_count);
    const ids = manifest.files['ids.bin']?.bytes ?? 0;
    this.#hitBytes = HIT_BYTES + Math.ceil(ids / documentCount);
    this.#documentBytes = this.#hitBytes + Math.ceil(stored / documentCount);
    this.#child = new SupervisedChild({
      name: this.name,
      command: process.execPath,
      args: [fileURLToPath(settings.program)],
      env: childEnv(process.env),
      // A process that lies about the size of its answers is found out by the head of the frame.
      payloadBytesMax: Math.min(PAYLOAD_BYTES_MAX, answerBytesMax(TOP_K_MAX, stored)),
      bufferedBytesMax: BUFFERED_BYTES_MAX,
      startTimeoutMs: settings.startTimeoutMs + Math.ceil(this.bytes / HASH_BYTES_PER_MS_MIN),
      silentMsMax: settings.silentMsMax,
      closeGraceMs: settings.closeGraceMs,
      backoff: settings.backoff,
      log: settings.log,
      timers: settings.timers,
      random: settings.random,
      onSpawn: () => this.#order(),
      onFrame: (frame) => this.#receive(frame),
      onDrain: () => undefined,
      onState: (state) => this.#follow(state),
    });
    this.#child.start();
  }

  get state(): ChildState {
    return this.#child.state;
  }

  get unavailable(): SwitchyardError | null {
    return this.#closed === null ? this.#unready() : indexClosed();
  }

  get restarts(): number {
    return this.#child.restarts;
  }

  /** Of the bundle's files. */
  get bytes(): number {
    return Object.values(this.bundle.manifest.files).reduce((sum, file) => sum + file.bytes, 0);
  }

  /** Answers owed, and what they may hold; and bytes that wait here for the process to read. */
  get load(): { readonly owed: number; readonly bytes: number; readonly bufferedBytes: number } {
    const { owed, bytes } = this.#inFlight;
    return { owed, bytes, bufferedBytes: this.#child.bufferedBytes };
  }

  /**
   * Resolves when the process has verified the bundle and mapped it. Rejects when its first start fails, with the
   * child's own error or INDEX_UNAVAILABLE: whoever wanted it open decides whether to try again.
   */
  opened(): Promise<void> {
    return this.#opening.done;
  }

  /** Errors as of any index, and REQUEST_TOO_LARGE for an answer whose documents do not fit a frame. */
  async search(query: IndexQuery): Promise<IndexAnswer> {
    // Before anything crosses; the copy it makes is not sent, since the child checks the original once more.
    checkQuery(query, this.bundle.manifest);
    const { timers } = this.#settings;
    if (this.#closed !== null) throw indexClosed();
    const startedAtMs = timers.nowMs();
    if (query.deadlineAtMs <= startedAtMs)
      throw new SwitchyardError('DEADLINE_EXCEEDED', 'the deadline passed before the search');
    this.counters.searches++;
    const { vector, topK, lane, withDocument, deadlineAtMs } = query;
    const bytes = vector.values.byteLength + topK * (withDocument ? this.#documentBytes : this.#hitBytes);
    const refusal = this.#unready() ?? this.#inFlight.refusal(lane, bytes);
    if (refusal !== null) throw this.#count(refusal);
    const remainingMs = deadlineAtMs - startedAtMs;
    const payload = encodeSearch({ ...vector, topK, lane, withDocument, remainingMs });
    return new Promise((resolve, reject) => {
      const flight: Flight = {
        lane,
        bytes,
        topK,
        withDocument,
        startedAtMs,
        resolve,
        reject: (error) => reject(this.#count(error)),
        cancelTimer: () => undefined,
        settled: false,
      };
      const id = this.#inFlight.add(flight);
      const sent = this.#child.send(FRAME.search, id, [payload]);
      if (sent !== 'sent') {
        this.#inFlight.take(id);
        settle(flight, () =>
          flight.reject(sent === 'full' ? pipeFull(BUFFERED_BYTES_MAX) : this.#unavailable('is gone')),
        );
        return;
      }
      if (Number.isFinite(remainingMs))
        flight.cancelTimer = timers.after(remainingMs, () => {
          settle(flight, () => flight.reject(deadlineExceeded()));
          this.#noticeIdle();
        });
      this.#child.setOutstanding(this.#inFlight.owed);
    });
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const { timers, closeGraceMs } = this.#settings;
    if (!this.#inFlight.isIdle)
      await new Promise<void>((resolve) => {
        const cancel = timers.after(closeGraceMs, resolve);
        this.#onIdle = () => {
          cancel();
          resolve();
        };
      });
    this.#inFlight.failAll(indexClosed);
    this.#opening.fail(indexClosed());
    await this.#child.close();
    this.#onClosed();
  }

  /** Null when a search can be sent. */
  #unready(): SwitchyardError | null {
    const { state } = this.#child;
    switch (state.kind) {
      case 'ready':
        return null;
      case 'starting':
        return this.#unavailable(this.#opening.isDone ? 'is starting again' : 'is starting');
      case 'waiting':
        return this.#unavailable(`${describeDown(state.down)}, and is started again`);
      case 'failed':
        return this.#unavailable(`cannot be opened: ${state.error.message}`);
      case 'closing':
      case 'closed':
        return indexClosed();
      default:
        return state satisfies never;
    }
  }

  #order(): void {
    const { workers, queueLengthMax, niceness, silentMsMax, stuckMsMax } = this.#settings;
    const { folder, digest } = this.bundle;
    const config: ChildConfig = {
      folder,
      digest,
      expected: this.#expected,
      workers,
      queueLengthMax,
      niceness,
      aliveEveryMs: Math.max(1, Math.floor(silentMsMax / 4)),
      stuckMsMax,
    };
    this.#child.send(FRAME.open, 0, [encodeJson(config)]);
  }

  #receive(frame: Frame): void {
    switch (frame.kind) {
      case FRAME.opened:
        this.#child.markReady();
        return;
      case FRAME.alive:
        return;
      case FRAME.failed: {
        const error = decodeError(frame.payload);
        if (error === null) this.#distrust('failed with an error that cannot be read');
        else this.#child.fail(errorFromFrame(error));
        return;
      }
      case FRAME.answer:
      case FRAME.refused:
        this.#receiveAnswer(frame);
        return;
      default:
        this.#distrust(`sent a frame of the unknown kind ${frame.kind}`);
    }
  }

  #receiveAnswer({ kind, id, payload }: Frame): void {
    const flight = this.#inFlight.take(id);
    if (flight === undefined) {
      this.#distrust('answered what it was not asked');
      return;
    }
    this.#child.setOutstanding(this.#inFlight.owed);
    if (kind === FRAME.refused) {
      const error = decodeError(payload);
      settle(flight, () =>
        flight.reject(error === null ? this.#unavailable('answered nonsense') : errorFromFrame(error)),
      );
      if (error === null) this.#distrust('refused a search with an error that cannot be read');
    } else if (!flight.settled) this.#deliver(flight, payload);
    this.#noticeIdle();
  }

  #deliver(flight: Flight, payload: Buffer): void {
    const answer = decodeAnswer(payload, flight.topK, flight.withDocument);
    if (answer === null) {
      settle(flight, () => flight.reject(this.#unavailable('answered nonsense')));
      this.#distrust('sent an answer of another shape than was asked for');
      return;
    }
    const { hits, searchUs } = answer;
    const elapsedUs = Math.round((this.#settings.timers.nowMs() - flight.startedAtMs) * 1e3);
    settle(flight, () => flight.resolve({ hits, queueUs: Math.max(0, elapsedUs - searchUs), searchUs }));
  }

  #noticeIdle(): void {
    if (this.#onIdle !== null && this.#inFlight.isIdle) this.#onIdle();
  }

  #distrust(what: string): void {
    this.#child.restartAfter(new SwitchyardError('INTERNAL', `it ${what}`));
  }

  #follow(state: ChildState): void {
    switch (state.kind) {
      case 'ready':
        this.#settings.log('info', `${this.name} is ready`, { pid: state.pid });
        this.#opening.succeed();
        return;
      case 'waiting':
        this.#lose(() => this.#unavailable(`${describeDown(state.down)}, and is started again`));
        return;
      case 'failed':
        this.#settings.log('error', `${this.name} cannot be opened: ${state.error.message}`, {
          reason: state.error.reason,
        });
        this.#opening.fail(state.error);
        this.#lose(() => this.#unavailable(`cannot be opened: ${state.error.message}`));
        return;
      case 'starting':
      case 'closing':
      case 'closed':
        return;
      default:
        state satisfies never;
    }
  }

  /** Everything in flight went with the process. */
  #lose(error: () => SwitchyardError): void {
    this.#opening.fail(error());
    this.#inFlight.failAll(error);
    this.#noticeIdle();
  }

  #count(error: SwitchyardError): SwitchyardError {
    if (error.reason === 'DEADLINE_EXCEEDED') this.counters.expired++;
    else if (error.reason === 'QUEUE_FULL') this.counters.refused++;
    else this.counters.failures++;
    return error;
  }

  #unavailable(what: string): SwitchyardError {
    return new SwitchyardError('INDEX_UNAVAILABLE', `${this.name} ${what}; try again later`);
  }
}
