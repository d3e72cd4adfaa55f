import type { StepKind } from './plan-schema.js';
import { ofBuild, type Sample, SampleTotals } from './sample.js';
import type { StepContext } from './step.js';

/** One that was begun before another may become visible after it. */
const OVERLAP_MS = 10_000;

/**
 * What all gateways measured since a moment, added up as it comes: each look reads only what is new, so that a step may
 * last for days. What was begun to be measured before that moment does not count, for what went wrong before an operator
 * mended it must fail nothing afterwards.
 */
export class Measured {
  readonly #read: StepContext<StepKind>['registry']['migrations'];
  readonly #migrationId: string;
  readonly #totals = new SampleTotals();
  /** Of the new version, the build that was verified: what was mirrored to another one says nothing of it. */
  readonly #of: (sample: Sample) => Sample;
  readonly #beginMs: number;
  #since: Date;
  /** Those at the edge that were added already. */
  #added = new Map<string, Date>();

  constructor(
    { registry, migration, state }: Pick<StepContext<StepKind>, 'registry' | 'migration' | 'state'>,
    since: string,
  ) {
    const { verified } = state.facts;
    this.#of = (sample) =>
      verified === null ? sample : ofBuild(sample, migration.toVersion, verified.build);
    this.#read = registry.migrations;
    this.#migrationId = migration.migrationId;
    this.#since = new Date(since);
    this.#beginMs = this.#since.getTime();
  }

  async now(): Promise<SampleTotals> {
    const begun = this.#since;
    for await (const { gatewayId, at, sample } of this.#read.samplesSince(this.#migrationId, begun)) {
      const key = `${gatewayId} ${at.getTime()}`;
      if (this.#added.has(key)) continue;
      this.#added.set(key, at);
      const measured = sample as Sample;
      if (at.getTime() - (measured.spanMs ?? 0) >= this.#beginMs) this.#totals.add(this.#of(measured));
      const edge = new Date(at.getTime() - OVERLAP_MS);
      if (edge > this.#since) this.#since = edge;
    }
    for (const [key, at] of this.#added) if (at < this.#since) this.#added.delete(key);
    return this.#totals;
  }
}
