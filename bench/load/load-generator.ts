import { fileURLToPath } from 'node:url';
import { AskedChild } from '../rig/asked-child.js';
import { ownNodeArguments } from '../rig/gateway.js';
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
  readonly #child: AskedChild<ToGenerator, FromGenerator>;

  private constructor(child: AskedChild<ToGenerator, FromGenerator>) {
    this.#child = child;
  }

  static async start(target: LoadTarget, requests: LoadRequests): Promise<LoadGenerator> {
    const child = new AskedChild<ToGenerator, FromGenerator>(
      fileURLToPath(new URL('./generator-main.js', import.meta.url)),
      // Its collections of garbage would count as the gateway's latency.
      ownNodeArguments(),
    );
    try {
      await child.ask({ kind: 'open', target, requests }, 'opened');
      return new LoadGenerator(child);
    } catch (error) {
      await child.close();
      throw error;
    }
  }

  /** Throws when a connection breaks or answers stop; requests that were refused are counted, not thrown. */
  async run(run: LoadRun): Promise<LoadResult> {
    return (await this.#child.ask({ kind: 'run', run }, 'result')).result;
  }

  close(): Promise<void> {
    return this.#child.close();
  }
}

/** The result, or an error that names what was refused: for runs in which nothing may be. */
export function withoutFailures(result: LoadResult): LoadResult {
  const statuses = Object.entries(result.failed).map(([status, count]) => `${count} × gRPC status ${status}`);
  if (statuses.length > 0) throw new Error(`requests failed: ${statuses.join(', ')}`);
  if (result.answered === 0) throw new Error('no request was answered');
  return result;
}
