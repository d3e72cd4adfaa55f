import { DurationTally, type HistogramSeries } from '../telemetry/tally.js';
import type { EncoderBatch } from './process-encoder-options.js';

const TEXTS = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** Size and duration of the runs of each model, by lane. */
export class RunTallies {
  readonly #byRun = new Map<string, { readonly texts: DurationTally; readonly seconds: DurationTally }>();
  readonly #labels = new Map<string, { readonly model: string; readonly lane: string }>();

  observe(model: string, { lane, texts, runUs }: EncoderBatch): void {
    const key = `${lane} ${model}`;
    let tallies = this.#byRun.get(key);
    if (tallies === undefined) {
      tallies = { texts: new DurationTally(TEXTS), seconds: new DurationTally(SECONDS) };
      this.#byRun.set(key, tallies);
      this.#labels.set(key, { model, lane });
    }
    tallies.texts.observe(texts);
    tallies.seconds.observe(runUs / 1e6);
  }

  /** `isOpen`: models that are not are left out, so that a process of many models shows those it has. */
  series(which: 'texts' | 'seconds', isOpen: (model: string) => boolean): HistogramSeries[] {
    return [...this.#byRun].flatMap(([key, tallies]) => {
      const labels = this.#labels.get(key);
      return labels === undefined || !isOpen(labels.model) ? [] : [tallies[which].series(labels)];
    });
  }
}
