import { SwitchyardError } from '../errors.js';
import type { CorpusBuildEvents } from '../lifecycle/corpus-build.js';
import { type Progress, startProgress } from './progress.js';

export interface BuildWatcher {
  readonly events: CorpusBuildEvents;
  /** Runs the build with a signal that Ctrl-C and SIGTERM abort; the bar is gone when it returns. */
  run<T>(build: (signal: AbortSignal) => Promise<T>): Promise<T>;
}

/** The progress bar of a corpus build and its way to be interrupted. */
export function buildWatcher(silent: boolean, work = 'embedding'): BuildWatcher {
  let bar: Progress | null = null;
  let phaseNow: string | null = null;
  const say = (line: string): void => {
    if (!silent) process.stderr.write(`${line}\n`);
  };
  const stopBar = (): void => {
    bar?.stop();
    bar = null;
  };
  return {
    events: {
      onCounted: (count) => {
        bar = startProgress(work, count, work === 'embedding' ? 'documents' : 'rows', silent);
      },
      onDocuments: (done) => bar?.update(done),
      onPhase: (phase) => {
        if (phase === phaseNow) return;
        phaseNow = phase;
        stopBar();
        if (phase === 'link') say('linking the graph');
        else if (phase === 'index') say('writing the index');
        else if (phase === 'recall') say('measuring recall against exact search');
        else say('publishing');
      },
    },
    run: async (build) => {
      const controller = new AbortController();
      const abort = (): void =>
        controller.abort(
          new SwitchyardError(
            'STATUS_CONFLICT',
            'interrupted; nothing was published, the same command goes on from the last checkpoint',
          ),
        );
      process.once('SIGINT', abort).once('SIGTERM', abort);
      try {
        return await build(controller.signal);
      } finally {
        process.off('SIGINT', abort).off('SIGTERM', abort);
        stopBar();
      }
    },
  };
}
