import type { StepOptions } from '../plan-schema.js';
import { type Finding, ms } from './finding.js';

export type CostOptions = NonNullable<StepOptions<'analysis'>['cost']>;

/** Of one version: bytes of its index and what a query takes of a core, both without queues. */
export interface VersionCost {
  readonly indexBytes: number;
  readonly vectors: number;
  /** Median; null where nothing was timed. */
  readonly serviceUs: number | null;
}

export function checkCost(before: VersionCost, after: VersionCost, options: CostOptions): Finding {
  const bytesRatio = before.indexBytes === 0 ? null : after.indexBytes / before.indexBytes;
  const serviceRatio =
    before.serviceUs === null || after.serviceUs === null || before.serviceUs === 0
      ? null
      : after.serviceUs / before.serviceUs;
  const figures = { before, after, bytes_ratio: bytesRatio, service_ratio: serviceRatio };
  const said = `index ${megabytes(after.indexBytes)} against ${megabytes(before.indexBytes)}, ${after.serviceUs === null || before.serviceUs === null ? 'no times' : `${ms(after.serviceUs)} of work a query against ${ms(before.serviceUs)}`}`;
  const found = (verdict: Finding['verdict'], why: string): Finding => ({
    check: 'cost',
    verdict,
    why,
    figures,
  });
  const { bytes_ratio_max, service_ratio_max } = options;
  if (bytes_ratio_max !== null && bytesRatio !== null && bytesRatio > bytes_ratio_max)
    return found('failed', `${said}; bytes_ratio_max is ${bytes_ratio_max}`);
  if (service_ratio_max !== null) {
    if (serviceRatio === null)
      return found('undecided', `${said}; service_ratio_max ${service_ratio_max} needs times`);
    if (serviceRatio > service_ratio_max)
      return found('failed', `${said}; service_ratio_max is ${service_ratio_max}`);
  }
  return found('successful', said);
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
