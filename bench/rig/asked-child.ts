import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

interface Answer {
  readonly kind: string;
  readonly message?: string;
}

/** A child process that is asked one thing at a time over Node's IPC channel and ends when it is closed. */
export class AskedChild<Question extends object, Reply extends Answer> {
  readonly #child: ChildProcess;

  /** `nodeArguments`: none of the bench's own are passed on. */
  constructor(file: string, nodeArguments: readonly string[] = []) {
    this.#child = fork(file, {
      serialization: 'advanced',
      execArgv: [...nodeArguments],
      // The test runner's loader is not for this process.
      env: { ...process.env, NODE_OPTIONS: '' },
    });
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** The answer of the kind that is wanted; anything else is an error, and so is the child's end. */
  ask<Kind extends Reply['kind']>(question: Question, wanted: Kind): Promise<Extract<Reply, { kind: Kind }>> {
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        this.#child.off('message', answered);
        this.#child.off('exit', ended);
        finish();
      };
      const answered = (answer: Reply): void =>
        settle(() => {
          if (answer.kind === wanted) resolve(answer as Extract<Reply, { kind: Kind }>);
          else reject(new Error(answer.message ?? `a child answered with ${answer.kind}`));
        });
      const ended = (code: number | null): void =>
        settle(() => reject(new Error(`a child process of the bench ended with ${code}`)));
      this.#child.on('message', answered);
      this.#child.on('exit', ended);
      this.#child.send(question);
    });
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    await exited;
  }
}
