export const RETIREMENT_STEPS = ['drain', 'archive', 'verify', 'delete'] as const;
export type RetirementStep = (typeof RETIREMENT_STEPS)[number];
