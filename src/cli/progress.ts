import { Presets, SingleBar } from 'cli-progress';

export interface Progress {
  update(done: number): void;
  stop(): void;
}

const PLAIN_INTERVAL_MS = 5000;

/** A bar with rate and ETA on a terminal; elsewhere (CI, a log) one plain line every five seconds; nothing when silent. */
export function startProgress(label: string, total: number, unit: string, silent: boolean): Progress {
  if (silent) return { update: () => {}, stop: () => {} };
  return process.stderr.isTTY ? startBar(label, total, unit) : startLines(label, total, unit);
}

function startBar(label: string, total: number, unit: string): Progress {
  const bar = new SingleBar(
    {
      format: `${label} {bar} {percentage}% | {value}/{total} ${unit} | ETA {eta_formatted}`,
      hideCursor: true,
      etaBuffer: 50,
    },
    Presets.shades_classic,
  );
  bar.start(total, 0);
  return { update: (done) => bar.update(done), stop: () => bar.stop() };
}

function startLines(label: string, total: number, unit: string): Progress {
  let startedAtMs = performance.now();
  let printedAtMs = startedAtMs;
  /** What was there at the first look, as of a download that goes on where it stopped. */
  let first: number | null = null;
  let last = 0;
  const print = (done: number): void => {
    const elapsedS = (performance.now() - startedAtMs) / 1000;
    const gained = done - (first ?? 0);
    // Before the first percent the start-up would be all of the estimate.
    const etaS =
      done >= total ? 0 : gained * 100 < total ? '?' : Math.ceil((elapsedS / gained) * (total - done));
    process.stderr.write(`${label}: ${done}/${total} ${unit}, ETA ${etaS} s\n`);
  };
  return {
    update: (done) => {
      if (first === null) {
        first = done;
        startedAtMs = performance.now();
      }
      last = done;
      if (performance.now() - printedAtMs < PLAIN_INTERVAL_MS) return;
      printedAtMs = performance.now();
      print(done);
    },
    stop: () => print(last),
  };
}
