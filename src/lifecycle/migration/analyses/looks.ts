/**
 * However often a migration looks at golden sets, it lets a version that lost the margin pass in 5 % of cases at most:
 * half of that is shared by the looks of its plan, and each look that a person asks for beyond them gets half of what
 * is left of the other half (Bonferroni; docs/decisions/0131). By how many the 5 % are divided for the next look, when
 * `taken` were taken of a plan that has `planned`.
 */
export const looksThatShare = (planned: number, taken: number): number =>
  taken < planned ? 2 * planned : 2 ** (taken - planned + 2);
