import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Teardown } from '../fixtures/postgres.js';
import type { Point } from './driver-points.js';

const DRIVER = fileURLToPath(new URL('./driver-main.js', import.meta.url));

export interface DriverSettings {
  readonly varDir: string;
  readonly databaseUrl: string;
  /** Of a gateway. */
  readonly url: string;
  readonly leaseMs: number;
  /** Until replicas that do not follow a return are named. */
  readonly settleMs?: number;
}

/** A driver's process: it waits until it is told to drive. */
export class DriverProcess {
  readonly child: ChildProcess;
  /** Signal or exit code by which it ended. */
  readonly ended: Promise<string | number | null>;
  /** Documents, whenever it said so. */
  readonly embedded: number[] = [];
  readonly #ready: Promise<unknown>;
  #onHeld: (() => void) | null = null;
  #onAnswered: (() => void) | null = null;

  constructor(t: Teardown, { varDir, databaseUrl, url, leaseMs, settleMs = 30_000 }: DriverSettings) {
    const given = [varDir, databaseUrl, url, String(leaseMs), String(settleMs)];
    const child = spawn(process.execPath, [DRIVER, ...given], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', LOG: process.env.LOG ?? 'silent' },
    });
    this.child = child;
    this.ended = once(child, 'close').then(([code, signal]) => (signal ?? code) as string | number | null);
    child.stdin.on('error', () => undefined); // it ended; its exit says why
    const lines: Interface = createInterface({ input: child.stdout });
    this.#ready = once(lines, 'line');
    lines.on('line', (line) => {
      const [what, done] = line.split(' ');
      if (what === 'embedded') this.embedded.push(Number(done));
      if (what === 'held') this.#onHeld?.();
      if (what === 'answered') this.#onAnswered?.();
    });
    t.teardown(() => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    });
  }

  get holder(): string {
    return `driver-${this.child.pid}`;
  }

  async drive(point: Point | null): Promise<void> {
    await this.#ready;
    this.#tell(point);
  }

  /** Drives on, and resolves when it is in the middle of what the point says. */
  async driveUntil(point: Omit<Point, 'isHeld'>): Promise<void> {
    await this.#ready;
    const held = new Promise<string>((resolve) => {
      this.#onHeld = () => resolve('held');
    });
    this.#tell({ ...point, isHeld: true });
    const end = await Promise.race([held, this.ended]);
    if (end !== 'held') throw new Error(`the driver ended (${end}) before ${point.at}`);
  }

  goOn(): void {
    this.#tell('go');
  }

  /** Until the call that it was held before is over, whatever came of it. */
  async goOnUntilAnswered(): Promise<void> {
    const answered = new Promise<string>((resolve) => {
      this.#onAnswered = () => resolve('answered');
    });
    this.goOn();
    const end = await Promise.race([answered, this.ended]);
    if (end !== 'answered') throw new Error(`the driver ended (${end}) before its call was over`);
  }

  #tell(what: Point | 'go' | null): void {
    this.child.stdin?.write(`${JSON.stringify(what)}\n`);
  }

  /** As an operator stops it. */
  async stop(): Promise<string | number | null> {
    this.child.kill('SIGTERM');
    return this.ended;
  }
}
