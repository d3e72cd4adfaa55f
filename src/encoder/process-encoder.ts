import { fileURLToPath } from 'node:url';
import { type ErrorFrame, errorFromFrame, SwitchyardError, toSwitchyardError } from '../errors.js';
import { childEnv } from '../process/child-env.js';
import { type ChildState, describeDown } from '../process/child-state.js';
import type { Frame } from '../process/frames.js';
import { SupervisedChild } from '../process/supervised-child.js';
import { modelRef, providerOf } from '../vocabulary.js';
import {
  BESIDE,
  type ChildConfig,
  decodeBatch,
  decodeJson,
  decodeVectors,
  encodeJson,
  encodePiece,
  FRAME,
  PAYLOAD_BYTES_MAX,
  type ReadyMessage,
} from './child-protocol.js';
import { EncodeQueue, openTicket, type Ticket } from './encode-queue.js';
import { checkRequest } from './encode-request.js';
import type { EncodedBatch, EncodeRequest, EncoderState } from './encoder.js';
import { EncoderReadiness } from './encoder-readiness.js';
import type { ModelManifest } from './manifest.js';
import {
  compileOptions,
  type EncoderCounters,
  type EncoderSettings,
  type ProcessEncoder,
  type ProcessEncoderOptions,
} from './process-encoder-options.js';
import { RunSpans } from './run-spans.js';

/** Bytes that may wait on this side of the pipe, beyond what the kernel holds. */
const BUFFERED_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Starts a supervised process that holds one model on one device. Returns at once, in the state `starting`.
 * Errors: INVALID_CONFIG for options outside their limits.
 */
export function startProcessEncoder(options: ProcessEncoderOptions): ProcessEncoder {
  return new SupervisedEncoder(compileOptions(options));
}

class SupervisedEncoder implements ProcessEncoder {
  readonly model: ModelManifest;
  readonly #settings: EncoderSettings;
  readonly #name: string;
  readonly #child: SupervisedChild;
  readonly #queue: EncodeQueue;
  readonly #readiness: EncoderReadiness;
  readonly #spans: RunSpans;
  readonly #totals = { batches: 0, texts: 0, tokens: 0, paddedTokens: 0, shed: 0 };
  /** What the process of now said when it was ready. */
  #ready: ReadyMessage | null = null;
  #closing: Promise<void> | null = null;
  #onDrained: (() => void) | null = null;
  #isPumpDue = false;

  constructor(settings: EncoderSettings) {
    this.model = settings.folder.manifest;
    this.#settings = settings;
    this.#name = `encoder ${modelRef(this.model)}`;
    this.#spans = new RunSpans(modelRef(this.model));
    this.#queue = new EncodeQueue(settings);
    this.#readiness = new EncoderReadiness(settings.onState, () => this.#shuttingDown());
    this.#child = new SupervisedChild({
      name: this.#name,
      command: process.execPath,
      // On a CPU the cores are what a run needs; an accelerator waits for whoever is busy with anything else.
      args: [
        fileURLToPath(new URL('./child-main.js', import.meta.url)),
        ...(settings.providers.some((device) => providerOf(device) !== 'cpu') ? [BESIDE] : []),
      ],
      env: childEnv(process.env),
      payloadBytesMax: PAYLOAD_BYTES_MAX,
      bufferedBytesMax: BUFFERED_BYTES_MAX,
      startTimeoutMs: settings.startTimeoutMs,
      silentMsMax: settings.silentMsMax,
      closeGraceMs: settings.closeGraceMs,
      backoff: settings.backoff,
      log: settings.log,
      timers: settings.timers,
      random: settings.random,
      onSpawn: () => this.#configure(),
      onFrame: (frame) => this.#receive(frame),
      onDrain: () => this.#pump(),
      onState: (state) => this.#follow(state),
    });
    this.#child.start();
  }

  get state(): EncoderState {
    return this.#readiness.state;
  }

  get counters(): EncoderCounters {
    const queue = this.#queue;
    return {
      ...this.#totals,
      restarts: this.#child.restarts,
      queueLength: queue.lengths,
      queueBytes: queue.bytes,
      outstanding: queue.outstanding,
      bufferedBytes: this.#child.bufferedBytes,
    };
  }

  async ready(): Promise<void> {
    if (this.#closing !== null) throw this.#shuttingDown();
    await this.#readiness.wait();
  }

  async encode(request: EncodeRequest): Promise<EncodedBatch> {
    const { timers, textBytesMax } = this.#settings;
    this.#expectReady();
    const textBytes = checkRequest(request, textBytesMax);
    const startedAtMs = timers.nowMs();
    if (request.deadlineAtMs <= startedAtMs) throw deadlineExceeded();
    this.#queue.checkRoom(request.lane, textBytes);
    const { fingerprint, dimensions } = this.model;
    let runs: Iterable<number> = [];
    const answer = new Promise<Omit<EncodedBatch, 'fingerprint' | 'dimensions'>>((resolve, reject) => {
      const ticket = openTicket(request, textBytes, dimensions, startedAtMs, resolve, reject);
      runs = ticket.runUsOf.keys();
      if (request.deadlineAtMs !== Number.POSITIVE_INFINITY)
        ticket.cancelTimer = timers.after(request.deadlineAtMs - startedAtMs, () => this.#expire(ticket));
      this.#queue.add(ticket);
      this.#pumpSoon();
    });
    if (request.trace === undefined) return { fingerprint, dimensions, ...(await answer) };
    try {
      const encoded = await answer;
      this.#spans.record(request, startedAtMs, timers.nowMs(), { runs, ...encoded });
      return { fingerprint, dimensions, ...encoded };
    } catch (thrown) {
      this.#spans.record(request, startedAtMs, timers.nowMs(), null, toSwitchyardError(thrown).reason);
      throw thrown;
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { timers, closeGraceMs } = this.#settings;
    if (!this.#queue.isIdle) {
      await new Promise<void>((resolve) => {
        const cancel = timers.after(closeGraceMs, resolve);
        this.#onDrained = () => {
          cancel();
          resolve();
        };
      });
    }
    this.#queue.failAll(this.#shuttingDown());
    await this.#child.close();
    this.#readiness.set({ kind: 'closed' });
  }

  #expectReady(): void {
    if (this.#closing !== null) throw this.#shuttingDown();
    const { state } = this.#readiness;
    switch (state.kind) {
      case 'ready':
        return;
      case 'starting':
        throw this.#unavailable('is starting');
      case 'restarting':
        throw this.#unavailable('is restarting');
      case 'failed':
        throw this.#unavailable(`cannot run: ${state.error.message}`);
      case 'closed':
        throw this.#shuttingDown();
      default:
        state satisfies never;
    }
  }

  #configure(): void {
    const { folder, providers, threads, batchTokensMax, batchDelayMsMax, accelerator, backgroundRunMsMax } =
      this.#settings;
    const config: ChildConfig = {
      folder: folder.folder,
      fingerprint: folder.manifest.fingerprint,
      providers,
      require: this.#settings.require,
      threads,
      batchTokensMax,
      batchDelayMsMax,
      accelerator,
      backgroundRunMsMax: Number.isFinite(backgroundRunMsMax) ? backgroundRunMsMax : null,
      queueTime: this.#settings.queueTime,
      niceness: this.#settings.niceness,
      silentMsMax: this.#settings.silentMsMax,
    };
    this.#child.send(FRAME.configure, 0, encodeJson(config));
  }

  /**
   * After what runs now, and what follows from it at once: callers that were answered together ask again together, and
   * the process sees all of them in one read, before it chooses what to run.
   */
  #pumpSoon(): void {
    if (this.#isPumpDue) return;
    this.#isPumpDue = true;
    process.nextTick(() => {
      this.#isPumpDue = false;
      this.#pump();
    });
  }

  #pump(): void {
    const nowMs = this.#settings.timers.nowMs();
    this.#child.together(() =>
      this.#queue.pump((id, { request }, from, to) => {
        const { role, lane, deadlineAtMs, texts, leavesOut = false } = request;
        const isWhole = to - from === texts.length;
        const parts = encodePiece({
          role,
          lane,
          remainingMs: deadlineAtMs - nowMs,
          isWhole,
          leavesOut,
          texts: isWhole ? texts : texts.slice(from, to),
        });
        return this.#child.send(FRAME.encode, id, parts) === 'sent';
      }),
    );
    this.#child.setOutstanding(this.#queue.outstanding);
  }

  #receive(frame: Frame): void {
    switch (frame.kind) {
      case FRAME.ready:
        this.#ready = decodeJson<ReadyMessage>(frame.payload);
        this.#child.markReady();
        return;
      case FRAME.failed:
        this.#child.fail(errorFromFrame(decodeJson<ErrorFrame>(frame.payload)));
        return;
      case FRAME.batch: {
        const batch = decodeBatch(frame.payload);
        if (batch === null) {
          this.#distrust('sent a report of a run that is none');
          return;
        }
        this.#totals.batches += 1;
        this.#totals.texts += batch.texts;
        this.#totals.tokens += batch.tokens;
        this.#totals.paddedTokens += batch.paddedTokens;
        this.#queue.observeRun(batch.texts, batch.runUs);
        this.#spans.ran(batch, this.#settings.timers.nowMs());
        this.#settings.onBatch(batch);
        return;
      }
      case FRAME.vectors:
      case FRAME.refused:
        this.#receiveAnswer(frame);
        return;
      default:
        this.#distrust(`sent a frame of the unknown kind ${frame.kind}`);
    }
  }

  #receiveAnswer(frame: Frame): void {
    const piece = this.#queue.takeSent(frame.id);
    if (piece === undefined) {
      this.#distrust('answered what it was not asked');
      return;
    }
    if (frame.kind === FRAME.refused) {
      const error = errorFromFrame(decodeJson<ErrorFrame>(frame.payload));
      if (error.reason === 'OVERLOADED') this.#totals.shed += 1;
      this.#queue.fail(piece.ticket, error);
      this.#cancelSent(piece.ticket);
    } else {
      const answer = decodeVectors(frame.payload, piece.to - piece.from, this.model.dimensions);
      if (answer === null) {
        this.#queue.fail(piece.ticket, this.#unavailable('answered with vectors of another shape'));
        this.#distrust('answered with vectors of another shape');
        return;
      }
      this.#queue.complete(piece, answer, this.model.dimensions, this.#settings.timers.nowMs());
    }
    this.#pumpSoon();
    if (this.#queue.isIdle) this.#onDrained?.();
  }

  #expire(ticket: Ticket): void {
    this.#queue.fail(ticket, deadlineExceeded());
    this.#cancelSent(ticket);
    this.#pump();
    if (this.#queue.isIdle) this.#onDrained?.();
  }

  /** A hint: when the pipe is full it is not sent, and the process drops the piece by its own clock. */
  #cancelSent(ticket: Ticket): void {
    for (const id of this.#queue.sentOf(ticket)) this.#child.send(FRAME.cancel, id);
  }

  #distrust(what: string): void {
    this.#child.restartAfter(new SwitchyardError('INTERNAL', `it ${what}`));
  }

  #follow(state: ChildState): void {
    switch (state.kind) {
      case 'starting':
        this.#ready = null;
        if (state.attempt > 0)
          this.#readiness.set({ kind: 'restarting', attempt: state.attempt, retryInMs: 0 });
        return;
      case 'ready':
        this.#becomeReady(state.pid);
        return;
      case 'waiting': {
        const { attempt, retryInMs, down } = state;
        this.#readiness.set({ kind: 'restarting', attempt, retryInMs });
        this.#queue.failAll(this.#unavailable(describeDown(down)));
        this.#onDrained?.();
        return;
      }
      case 'failed':
        this.#settings.log('error', `${this.#name} cannot run: ${state.error.message}`, {
          reason: state.error.reason,
        });
        this.#readiness.set({
          kind: 'failed',
          error: state.error,
          attempt: state.attempt,
          retryInMs: state.retryInMs,
        });
        this.#queue.failAll(this.#unavailable(`cannot run: ${state.error.message}`));
        this.#onDrained?.();
        return;
      case 'closing':
      case 'closed':
        return;
      default:
        state satisfies never;
    }
  }

  #becomeReady(pid: number): void {
    if (this.#ready === null) return;
    const { provider, fallbackReason, worstProbeCosine } = this.#ready;
    const { log } = this.#settings;
    const fields = { provider, pid, worstProbeCosine: Number(worstProbeCosine.toFixed(6)) };
    if (fallbackReason === null) log('info', `${this.#name} is ready on ${provider}`, fields);
    else log('warn', `${this.#name} fell back to ${provider}: ${fallbackReason}`, fields);
    this.#readiness.set({ kind: 'ready', provider, fallbackReason, pid });
  }

  #unavailable(what: string): SwitchyardError {
    return new SwitchyardError('ENCODER_UNAVAILABLE', `${this.#name} ${what}; try again later`, {
      details: { fingerprint: this.model.fingerprint },
    });
  }

  #shuttingDown(): SwitchyardError {
    return new SwitchyardError('SHUTTING_DOWN', `${this.#name} is closed`);
  }
}

const deadlineExceeded = (): SwitchyardError =>
  new SwitchyardError('DEADLINE_EXCEEDED', 'the deadline passed before the encoder had the vectors');
