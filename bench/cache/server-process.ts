import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { ownNodeArguments } from '../rig/gateway.js';
import type { CacheCounts, FromServer, ServerPlan, ToServer } from './protocol.js';

/** A measured server in a process of its own. */
export class ServerProcess {
  readonly #child: ChildProcess;
  #port = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(plan: ServerPlan): Promise<ServerProcess> {
    const child = fork(fileURLToPath(new URL('./server-main.js', import.meta.url)), {
      serialization: 'advanced',
      // Both sides, so that neither has the better garbage collector.
      execArgv: [...ownNodeArguments()],
      // The test runner's loader is not for this process.
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    const server = new ServerProcess(child);
    try {
      const answer = await server.#ask({ kind: 'start', plan });
      if (answer.kind !== 'serving')
        throw new Error(`the ${plan.kind} server answered its start with ${answer.kind}`);
      server.#port = answer.port;
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  get port(): number {
    return this.#port;
  }

  async answerWith(bytes: Uint8Array): Promise<void> {
    await this.#ask({ kind: 'answerWith', bytes });
  }

  async counts(): Promise<CacheCounts> {
    const answer = await this.#ask({ kind: 'counts' });
    if (answer.kind !== 'counts') throw new Error(`the server answered with ${answer.kind}`);
    return answer.counts;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    await exited;
  }

  #ask(message: ToServer): Promise<FromServer> {
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        this.#child.off('message', answered);
        this.#child.off('exit', ended);
        finish();
      };
      const answered = (answer: FromServer): void =>
        settle(() => (answer.kind === 'failed' ? reject(new Error(answer.message)) : resolve(answer)));
      const ended = (): void => settle(() => reject(new Error('a measured server ended')));
      this.#child.on('message', answered);
      this.#child.on('exit', ended);
      this.#child.send(message);
    });
  }
}
