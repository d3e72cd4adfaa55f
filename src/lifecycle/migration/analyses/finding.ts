import type { CheckKind } from '../plan.js';

/**
 * `undecided`: too little was seen yet; Inconclusive when the time is over. `inconclusive`: more of it would not help.
 */
export type CheckVerdict = 'successful' | 'failed' | 'undecided' | 'inconclusive';

/** What one check found, with its figures for the report. */
export interface Finding {
  readonly check: CheckKind;
  readonly verdict: CheckVerdict;
  /** For a person, with the figures and the limit. */
  readonly why: string;
  readonly figures: Readonly<Record<string, unknown>>;
}

/** One failure fails; else one that cannot decide makes the whole undecided; else Successful. */
export function overall(findings: readonly Finding[]): CheckVerdict {
  for (const verdict of ['failed', 'inconclusive', 'undecided'] as const)
    if (findings.some((finding) => finding.verdict === verdict)) return verdict;
  return 'successful';
}

export const reasons = (findings: readonly Finding[], verdict: CheckVerdict): string =>
  findings
    .filter((finding) => finding.verdict === verdict)
    .map(({ check, why }) => `${check}: ${why}`)
    .join('; ');

/** Looked at again and again, so a single look errs rarely: 1 of 700 per side. */
export const LOOK_Z = 3;

export const percent = (share: number): string => `${(share * 100).toFixed(share < 0.1 ? 2 : 1)} %`;
export const ms = (us: number): string => `${(us / 1000).toFixed(us < 10_000 ? 2 : 1)} ms`;
