import { fileURLToPath } from 'node:url';
import { treeCpuUs } from '../load/process-cpu.js';
import { AskedChild } from '../rig/asked-child.js';
import type { FromText, TextResult, TextRun, TextSetup, ToText } from './text-protocol.js';

export interface TextSide {
  readonly cpuUs: number;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly recall: number;
}

/** The runtime and usearch alone in sequence, in as many processes of their own as are wanted at once. */
export class RawText {
  readonly #children: readonly AskedChild<ToText, FromText>[];
  readonly #batchTokensMax: number;
  /** The next text that was not asked for yet. */
  #from = 0;

  private constructor(children: readonly AskedChild<ToText, FromText>[], batchTokensMax: number) {
    this.#children = children;
    this.#batchTokensMax = batchTokensMax;
  }

  static async start(setup: TextSetup, processes: number, batchTokensMax: number): Promise<RawText> {
    const file = fileURLToPath(new URL('./text-main.js', import.meta.url));
    const children = Array.from({ length: processes }, () => new AskedChild<ToText, FromText>(file));
    const raw = new RawText(children, batchTokensMax);
    try {
      await Promise.all(children.map((child) => child.ask({ kind: 'setup', setup }, 'ready')));
      return raw;
    } catch (error) {
      await raw.close();
      throw error;
    }
  }

  /** One text at a time and `together`: whichever costs less CPU. So many of the processes are at it at once. */
  async run(processes: number, together: number, seconds: number): Promise<TextSide> {
    if (together === 1) return this.#run(processes, 1, seconds);
    const alone = await this.#run(processes, 1, seconds / 2);
    const grouped = await this.#run(processes, together, seconds / 2);
    return alone.cpuUs < grouped.cpuUs ? alone : grouped;
  }

  async close(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.close()));
  }

  async #run(processes: number, together: number, seconds: number): Promise<TextSide> {
    const parts = await Promise.all(
      this.#children.slice(0, processes).map(async (child, at) => {
        const before = treeCpuUs(child.pid);
        // Far enough apart that no two processes do the same text, unless they go through all of them.
        const from = this.#from + at * APART;
        const run: TextRun = { seconds, from, together, batchTokensMax: this.#batchTokensMax };
        const { result } = await child.ask({ kind: 'run', run }, 'result');
        return { result, cpuUs: treeCpuUs(child.pid) - before };
      }),
    );
    const results = parts.map(({ result }) => result);
    this.#from += Math.max(...results.map(({ texts }) => texts));
    const texts = sumOf(results, (one) => one.texts);
    const mean = (of: (one: TextResult) => number): number =>
      sumOf(results, (one) => of(one) * one.texts) / texts;
    return {
      cpuUs: parts.reduce((sum, { cpuUs }) => sum + cpuUs, 0) / texts,
      perSecond: sumOf(results, (one) => one.perSecond),
      p50Us: mean((one) => one.latencyUs.p50),
      p99Us: Math.max(...results.map(({ latencyUs }) => latencyUs.p99)),
      recall: mean((one) => one.recall),
    };
  }
}

const APART = 4_099;

const sumOf = (results: readonly TextResult[], of: (one: TextResult) => number): number =>
  results.reduce((sum, one) => sum + of(one), 0);
