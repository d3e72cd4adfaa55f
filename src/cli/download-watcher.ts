import { formatBytes } from './output.js';
import { type Progress, startProgress } from './progress.js';

/** Smaller files are there before anybody reads a bar. */
const BAR_BYTES_MIN = 8_000_000;
const BYTES_PER_UNIT = 1_000_000;

export interface DownloadWatcher {
  /** Received bytes of a file, of its total where the server says it. */
  onDownload(file: string, received: number, total: number | undefined): void;
  /** Whatever is shown is finished. */
  stop(): void;
}

/** A line for each file that is downloaded, and a bar with its ETA for a large one. */
export function downloadWatcher(silent: boolean): DownloadWatcher {
  let bar: Progress | null = null;
  let fileNow: string | null = null;
  const stop = (): void => {
    bar?.stop();
    bar = null;
  };
  return {
    stop,
    onDownload: (file, received, total) => {
      if (file !== fileNow) {
        stop();
        fileNow = file;
        if (total !== undefined && total >= BAR_BYTES_MIN)
          bar = startProgress(`downloading ${file}`, Math.ceil(total / BYTES_PER_UNIT), 'MB', silent);
        else if (!silent)
          process.stderr.write(
            `downloading ${file}${total === undefined ? '' : ` (${formatBytes(total)})`}\n`,
          );
      }
      bar?.update(Math.floor(received / BYTES_PER_UNIT));
      if (total !== undefined && received >= total) stop();
    },
  };
}
