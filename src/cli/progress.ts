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
  const startedAtMs = performance.now();
  let printedAtMs = startedAtMs;
  let last = 0;
  const print = (done: number): void => {
    const elapsedS = (performance.now() - startedAtMs) / 1000;
    // Before the first percent the start-up of the encoder would be all of the estimate.
    const etaS = done * 100 < total ? '?' : Math.ceil((elapsedS / done) * (total - done));
    process.stderr.write(`${label}: ${done}/${total} ${unit}, ETA ${etaS} s\n`);
  };
  return {
    update: (done) => {
      last = done;
      if (performance.now() - printedAtMs < PLAIN_INTERVAL_MS) return;
      printedAtMs = performance.now();
      print(done);
    },
    stop: () => print(last),
  };
}
