/** One thing the doctor looked at. `advice` says what to do; null when there is nothing to do. */
export interface Finding {
  readonly level: 'ok' | 'warn' | 'fail';
  readonly check: string;
  readonly finding: string;
  readonly advice: string | null;
}

export const ok = (check: string, finding: string): Finding => ({
  level: 'ok',
  check,
  finding,
  advice: null,
});
export const warn = (check: string, finding: string, advice: string): Finding => ({
  level: 'warn',
  check,
  finding,
  advice,
});
export const fail = (check: string, finding: string, advice: string): Finding => ({
  level: 'fail',
  check,
  finding,
  advice,
});
