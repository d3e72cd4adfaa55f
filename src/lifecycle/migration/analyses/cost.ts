import type { StepOptions } from '../plan-schema.js';
import { type Finding, ms } from './finding.js';

export type CostOptions = NonNullable<StepOptions<'analysis'>['cost']>;

/** Of one version: bytes of its index and what a query takes of a core, both without queues. */
export interface VersionCost {
  /** Null where its build's record does not say. */
  readonly indexBytes: number | null;
  readonly vectors: number;
  /** Median; null where nothing was timed. */
  readonly serviceUs: number | null;
}

/**
 * Shown always; decides where a limit is set. A limit whose ratio is not known lets nothing pass: times may still come,
 * the size of a build does not.
 */
export function checkCost(before: VersionCost, after: VersionCost, options: CostOptions): Finding {
  const bytesRatio = ratioOf(before.indexBytes, after.indexBytes);
  const serviceRatio = ratioOf(before.serviceUs, after.serviceUs);
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
  if (service_ratio_max !== null && serviceRatio !== null && serviceRatio > service_ratio_max)
    return found('failed', `${said}; service_ratio_max is ${service_ratio_max}`);
  if (bytes_ratio_max !== null && bytesRatio === null)
    return found('inconclusive', `${said}; bytes_ratio_max ${bytes_ratio_max} needs the size of both`);
  if (service_ratio_max !== null && serviceRatio === null)
    return found('undecided', `${said}; service_ratio_max ${service_ratio_max} needs times of both`);
  return found('successful', said);
}

/** Null where either is not known, or is nothing. */
const ratioOf = (before: number | null, after: number | null): number | null =>
  before === null || after === null || before === 0 || after === 0 ? null : after / before;

const megabytes = (bytes: number | null): string =>
  bytes === null ? 'of unknown size' : `${(bytes / 1e6).toFixed(1)} MB`;
