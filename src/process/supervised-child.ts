import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import type { SwitchyardError } from '../errors.js';
import { type BackoffPolicy, backoffDelayMs } from './backoff.js';
import { type ChildDown, type ChildState, describeDown } from './child-state.js';
import { cpuWaitOf } from './cpu-wait.js';
import { FrameChannel, type SendOutcome } from './frame-channel.js';
import type { Frame } from './frames.js';
import { HangWatch } from './hang-watch.js';
import { logLines } from './line-log.js';
import { CHANNEL_FD } from './parent-channel.js';
import type { ProcessLog } from './process-log.js';
import type { Timers } from './timers.js';

export interface SupervisedChildOptions {
  /** What the logs call it: `encoder all-MiniLM-L6-v2@1`. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment of the child; see `childEnv`. */
  readonly env: Readonly<Record<string, string>>;
  readonly payloadBytesMax: number;
  /** Bytes that may wait in this process for a child that does not read. */
  readonly bufferedBytesMax: number;
  /**
   * From spawn to `markReady`; a child that takes longer is killed and started again, with twice the time, up to
   * eight times it: a machine too busy for one start is often too busy for the next.
   */
  readonly startTimeoutMs: number;
  /** Owed work and no frame for this long, not counting what it waited for a processor: killed and started again. */
  readonly silentMsMax: number;
  /** How long `close` waits for the child to end by itself. */
  readonly closeGraceMs: number;
  readonly backoff: BackoffPolicy;
  readonly log: ProcessLog;
  readonly timers: Timers;
  readonly random: () => number;
  /** A fresh child reads its channel: send it what it needs to start. */
  readonly onSpawn: () => void;
  readonly onFrame: (frame: Frame) => void;
  readonly onDrain: () => void;
  /** After every change. Leaving `ready` means that all work in flight is lost. */
  readonly onState: (state: ChildState) => void;
}

/** One life of the child, from spawn to exit. */
interface Life {
  readonly process: ChildProcess;
  readonly channel: FrameChannel;
  readonly exited: Promise<void>;
  readyAtMs: number | null;
  exit: { readonly code: number | null; readonly signal: NodeJS.Signals | null } | null;
  channelClosed: boolean;
}

/** An end that shows on the channel first gets this long to show its exit code, and the other way round. */
const SETTLE_MS = 200;

const START_DOUBLINGS_MAX = 3;

/**
 * A child process that is kept running: started with a frame channel on descriptor 3, watched, killed when it
 * hangs, and started again with back-off. It dies with its parent, since its channel does.
 */
export class SupervisedChild {
  readonly #options: SupervisedChildOptions;
  readonly #watch: HangWatch;
  #state: ChildState = { kind: 'starting', attempt: 0, pid: null };
  #life: Life | null = null;
  /** When the last child is really gone. */
  #lastExited: Promise<void> = Promise.resolve();
  /** Restarts since the child was last stable. */
  #attempt = 0;
  #restarts = 0;
  #cancelTimer: (() => void) | null = null;
  #closing: Promise<void> | null = null;

  constructor(options: SupervisedChildOptions) {
    this.#options = options;
    this.#watch = new HangWatch(
      options.silentMsMax,
      options.timers,
      (silentMs) => this.#lose({ kind: 'unresponsive', silentMs }, this.#life),
      cpuWaitOf(() => this.#life?.process.pid ?? null),
    );
  }

  get state(): ChildState {
    return this.#state;
  }

  /** How often the child was started again since it was first. */
  get restarts(): number {
    return this.#restarts;
  }

  get bufferedBytes(): number {
    return this.#life?.channel.bufferedBytes ?? 0;
  }

  /** To be called once, after the constructor's caller has stored the object its callbacks use. */
  start(): void {
    if (this.#state.kind === 'starting' && this.#life === null) this.#spawn();
  }

  send(kind: number, id: number, parts: readonly Uint8Array[] = []): SendOutcome {
    return this.#life?.channel.send(kind, id, parts) ?? 'closed';
  }

  /** What `work` sends leaves in one write, so that the child wakes once for all of it. */
  together(work: () => void): void {
    const channel = this.#life?.channel;
    if (channel === undefined) work();
    else channel.together(work);
  }

  /** How many answers the child owes; feeds the hang watch. */
  setOutstanding(count: number): void {
    this.#watch.setOutstanding(count);
  }

  /** The owner saw what it needed to see: the child can work. */
  markReady(): void {
    const life = this.#life;
    if (this.#state.kind !== 'starting' || life?.process.pid === undefined) return;
    this.#stopTimer();
    life.readyAtMs = this.#options.timers.nowMs();
    this.#setState({ kind: 'ready', pid: life.process.pid });
  }

  /**
   * The owner saw why the child cannot work, and that another start alone mends nothing. It is ended, and tried again
   * with the same growing pauses: files are restored and memory is freed without anybody telling this process.
   */
  fail(error: SwitchyardError): void {
    const life = this.#life;
    if (life === null || !this.#isRunning()) return;
    const stable = this.#wasStable(life);
    this.#dropLife();
    const pause = this.#startLater(stable);
    this.#setState({ kind: 'failed', ...pause, error });
  }

  /** The owner found the child talking nonsense: killed and started again. */
  restartAfter(error: SwitchyardError): void {
    this.#lose({ kind: 'protocol', error }, this.#life);
  }

  /** Ends the child: its channel closes, it finishes and exits; after `closeGraceMs` it is killed. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#stopTimer();
    this.#watch.stop();
    const life = this.#life;
    this.#setState({ kind: 'closing' });
    if (life !== null) {
      life.channel.end();
      const cancel = this.#options.timers.after(this.#options.closeGraceMs, () => {
        this.#options.log('warn', `${this.#options.name} did not end in time and is killed`, {
          closeGraceMs: this.#options.closeGraceMs,
        });
        life.process.kill('SIGKILL');
      });
      await life.exited;
      cancel();
      life.channel.destroy();
      this.#life = null;
    }
    // Also a child that was killed just before.
    await this.#lastExited;
    this.#setState({ kind: 'closed' });
  }

  #spawn(): void {
    const { name, timers, log } = this.#options;
    const startTimeoutMs = this.#options.startTimeoutMs * 2 ** Math.min(this.#attempt, START_DOUBLINGS_MAX);
    const life = this.#openLife();
    if (typeof life === 'string') {
      this.#restartLater({ kind: 'spawn_failed', code: life }, false);
      return;
    }
    this.#life = life;
    this.#lastExited = life.exited;
    const child = life.process;
    const pid = child.pid ?? 0;
    if (child.stdout !== null)
      logLines(child.stdout, (line) => log('info', `${name}: ${line}`, { pid }), timers);
    if (child.stderr !== null)
      logLines(child.stderr, (line) => log('warn', `${name}: ${line}`, { pid }), timers);
    this.#cancelTimer = timers.after(startTimeoutMs, () => {
      this.#lose({ kind: 'start_timeout', afterMs: startTimeoutMs }, life);
    });
    this.#setState({ kind: 'starting', attempt: this.#attempt, pid: child.pid ?? null });
    if (child.pid !== undefined) this.#options.onSpawn();
  }

  /** A code of an error instead of a life when the system has no process, or no pipe, to give. */
  #openLife(): Life | string {
    const { command, args, env } = this.#options;
    let child: ChildProcess;
    try {
      child = spawn(command, args, { env: { ...env }, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? 'unknown';
    }
    let failedCode: string | null = null;
    let opened: Life | null = null;
    const exited = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      child.on('error', (error: NodeJS.ErrnoException) => {
        // With a pid it is a signal that could not be sent; without one there is no process, and no exit to see.
        if (child.pid !== undefined) return;
        failedCode = error.code ?? 'unknown';
        resolve();
        this.#lose({ kind: 'spawn_failed', code: failedCode }, opened);
      });
    });
    // Out of descriptors, Node gives a child without pipes.
    const socket = child.stdio?.[CHANNEL_FD] as Duplex | null | undefined;
    if (socket === null || socket === undefined) return failedCode ?? 'EMFILE';
    const channel = new FrameChannel({
      socket,
      payloadBytesMax: this.#options.payloadBytesMax,
      bufferedBytesMax: this.#options.bufferedBytesMax,
      onFrame: (frame) => {
        this.#watch.sign();
        this.#options.onFrame(frame);
      },
      onDrain: this.#options.onDrain,
      onClosed: (end) => {
        life.channelClosed = true;
        if (end.kind === 'protocol') this.#lose({ kind: 'protocol', error: end.error }, life);
        else this.#settle(life);
      },
    });
    const life: Life = { process: child, channel, exited, readyAtMs: null, exit: null, channelClosed: false };
    opened = life;
    child.on('exit', (code, signal) => {
      life.exit = { code, signal };
      this.#settle(life);
    });
    return life;
  }

  /** The exit and the end of the channel come in either order; what was written before the exit is read first. */
  #settle(life: Life): void {
    if (life !== this.#life || this.#state.kind === 'closing') return;
    if (life.exit !== null && life.channelClosed) {
      this.#lose({ kind: 'exited', ...life.exit }, life);
      return;
    }
    this.#options.timers.after(SETTLE_MS, () => {
      this.#lose({ kind: 'exited', ...(life.exit ?? { code: null, signal: null }) }, life);
    });
  }

  /** The current life is over, whatever is left of it is killed, and a restart is planned. */
  #lose(down: ChildDown, life: Life | null): void {
    if (life === null || life !== this.#life || !this.#isRunning()) return;
    const stable = this.#wasStable(life);
    this.#dropLife();
    this.#restartLater(down, stable);
  }

  #isRunning(): boolean {
    return this.#state.kind === 'starting' || this.#state.kind === 'ready';
  }

  #wasStable({ readyAtMs }: Life): boolean {
    const { backoff, timers } = this.#options;
    return readyAtMs !== null && timers.nowMs() - readyAtMs >= backoff.stableAfterMs;
  }

  #restartLater(down: ChildDown, stable: boolean): void {
    const { log, name } = this.#options;
    const { attempt, retryInMs } = this.#startLater(stable);
    log('error', `${name} ${describeDown(down)}; it is started again`, {
      attempt,
      retryInMs: Math.round(retryInMs),
    });
    this.#setState({ kind: 'waiting', attempt, retryInMs, down });
  }

  /** Plans the next start; the caller says in which state it is waited for. */
  #startLater(stable: boolean): { readonly attempt: number; readonly retryInMs: number } {
    const { backoff, timers, random } = this.#options;
    this.#stopTimer();
    this.#attempt = stable ? 1 : this.#attempt + 1;
    const retryInMs = backoffDelayMs(backoff, this.#attempt, random);
    this.#cancelTimer = timers.after(retryInMs, () => {
      this.#cancelTimer = null;
      // Never two at once: a killed child may still hold its GPU memory.
      void this.#lastExited.then(() => {
        if (this.#state.kind !== 'waiting' && this.#state.kind !== 'failed') return;
        this.#restarts += 1;
        this.#spawn();
      });
    });
    return { attempt: this.#attempt, retryInMs };
  }

  #dropLife(): void {
    const life = this.#life;
    this.#life = null;
    this.#watch.stop();
    if (life === null) return;
    life.channel.destroy();
    if (life.exit === null) life.process.kill('SIGKILL');
  }

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
  }

  #setState(state: ChildState): void {
    this.#state = state;
    this.#options.onState(state);
  }
}
