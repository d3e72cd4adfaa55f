import type { MigrationMeter } from '../../src/lifecycle/migration/meter.js';
import { CountingMetrics } from '../router/harness.js';

/** Metrics of a router of tests whose answers and failures a migration measures as well. */
export class MeteredMetrics extends CountingMetrics {
  readonly #meter: MigrationMeter;

  constructor(meter: MigrationMeter) {
    super();
    this.#meter = meter;
  }

  override served(...[target, kind, times]: Parameters<CountingMetrics['served']>): void {
    this.#meter.served(target, kind, times);
  }

  override failed(...[target, kind, , blame]: Parameters<CountingMetrics['failed']>): void {
    this.#meter.failed(target, kind, blame);
  }
}
