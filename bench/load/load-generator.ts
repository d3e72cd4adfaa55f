import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type {
  FromGenerator,
  LoadRequests,
  LoadResult,
  LoadRun,
  LoadTarget,
  ToGenerator,
} from './load-protocol.js';

/** The bench's handle on a load generator in a process of its own. One run at a time. */
export class LoadGenerator {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(target: LoadTarget, requests: LoadRequests): Promise<LoadGenerator> {
    const child = fork(fileURLToPath(new URL('./generator-main.js', import.meta.url)), {
      serialization: 'advanced',
      execArgv: [],
      // The test runner's loader is not for this process.
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    const generator = new LoadGenerator(child);
    try {
      await generator.#ask({ kind: 'open', target, requests }, 'opened');
      return generator;
    } catch (error) {
      await generator.close();
      throw error;
    }
  }

  /** Throws when a connection breaks or answers stop; requests that were refused are counted, not thrown. */
  async run(run: LoadRun): Promise<LoadResult> {
    const answer = await this.#ask({ kind: 'run', run }, 'result');
    if (answer.kind !== 'result') throw new Error(`the generator answered a run with ${answer.kind}`);
    return answer.result;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    await exited;
  }

  #ask(message: ToGenerator, wanted: FromGenerator['kind']): Promise<FromGenerator> {
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        this.#child.off('message', answered);
        this.#child.off('exit', ended);
        finish();
      };
      const answered = (answer: FromGenerator): void =>
        settle(() =>
          answer.kind === wanted
            ? resolve(answer)
            : reject(new Error(`load generator: ${answer.kind === 'failed' ? answer.message : answer.kind}`)),
        );
      const ended = (): void => settle(() => reject(new Error('the load generator ended')));
      this.#child.on('message', answered);
      this.#child.on('exit', ended);
      this.#child.send(message);
    });
  }
}

/** The result, or an error that names what was refused: for runs in which nothing may be. */
export function withoutFailures(result: LoadResult): LoadResult {
  const statuses = Object.entries(result.failed).map(([status, count]) => `${count} × gRPC status ${status}`);
  if (statuses.length > 0) throw new Error(`requests failed: ${statuses.join(', ')}`);
  if (result.answered === 0) throw new Error('no request was answered');
  return result;
}
