import type { TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { parseYaml } from '../../config/yaml.js';
import { SwitchyardError, toSwitchyardError } from '../../errors.js';
import { type Chunking, checkChunking } from '../chunking.js';
import {
  type MigrationPlan,
  type PlanStep,
  STEP_KINDS,
  STEP_SCHEMAS,
  type StepKind,
  type StepOptions,
} from './plan-schema.js';

export const PLAN_STEPS_MAX = 64;
const PLAN_BYTES_MAX = 65_536;
const ALIASES_MAX = 10;
const WEIGHT_TOTAL_BPS = 10_000;

/** What a plan says of one step: `{ set_weight: { weight: 100 } }`. */
type StepDocument = Readonly<Partial<Record<StepKind, object>>>;

const SERVED = { service_time: {}, error_rate: {}, duration_s: 300 };

/**
 * SEED.md's four phases: build; shadow traffic and validation; gradual cutover; cleanup. A person confirms the first
 * weight and the last one.
 */
export const DEFAULT_PLAN: { readonly steps: readonly StepDocument[] } = {
  steps: [
    { build: {} },
    { verify: {} },
    { shadow: {} },
    { analysis: { golden: {}, shadow: {}, service_time: {}, cost: {} } },
    { set_weight: { weight: 100 } },
    { analysis: SERVED },
    { pause: {} },
    { set_weight: { weight: 1_000 } },
    { analysis: SERVED },
    { set_weight: { weight: 5_000 } },
    { analysis: SERVED },
    { pause: {} },
    { set_weight: { weight: WEIGHT_TOTAL_BPS } },
    { analysis: { ...SERVED, service_time: {} } },
    { complete: {} },
    { retire: {} },
  ],
};

/** A plan as a person writes it, YAML or JSON; null: the default one. Errors: INVALID_PLAN naming step and limit. */
export function readPlan(text: string | null): MigrationPlan {
  if (text === null) return compilePlan(DEFAULT_PLAN);
  if (Buffer.byteLength(text) > PLAN_BYTES_MAX)
    throw invalid(`it has ${Buffer.byteLength(text)} bytes; must be <= ${PLAN_BYTES_MAX}`);
  const refuse = (problem: string) => invalid(`it is neither YAML nor JSON: ${problem}`);
  return compilePlan(parseYaml(text, refuse, ALIASES_MAX));
}

/** Shapes, bounds and the relations between steps. Errors: INVALID_PLAN. */
export function compilePlan(document: unknown): MigrationPlan {
  if (!isObject(document) || !Array.isArray(document.steps))
    throw invalid('it must be a mapping with a list `steps`');
  for (const key of Object.keys(document))
    if (key !== 'steps') throw invalid(`it has no key ${key.slice(0, 40)}; only \`steps\``);
  const { steps } = document as { readonly steps: readonly unknown[] };
  if (steps.length === 0 || steps.length > PLAN_STEPS_MAX)
    throw invalid(`it has ${steps.length} steps; must be 1..${PLAN_STEPS_MAX}`);
  const plan = Object.freeze({ steps: Object.freeze(steps.map(compileStep)) });
  checkOrder(plan.steps);
  return plan;
}

function compileStep(document: unknown, at: number): PlanStep {
  const where = `step ${at + 1}`;
  if (!isObject(document) || Object.keys(document).length !== 1)
    throw invalid(`${where} must be one of ${STEP_KINDS.join(', ')} with its options: \`- pause: {}\``);
  const [kind = '', options] = Object.entries(document)[0] ?? [];
  if (!Object.hasOwn(STEP_SCHEMAS, kind))
    throw invalid(`${where} is ${kind.slice(0, 40)}; must be one of ${STEP_KINDS.join(', ')}`);
  const schema: TSchema = STEP_SCHEMAS[kind as StepKind];
  const filled = Value.Default(schema, structuredClone(options ?? {}));
  const [problem] = Value.Errors(schema, filled);
  if (problem !== undefined) {
    const place = `${kind}${problem.path.replaceAll('/', '.')}`;
    throw invalid(`${where}: ${place}: ${problem.message}${boundsOf(problem.schema)}`);
  }
  const step = Object.freeze({ kind, options: Object.freeze(filled) }) as PlanStep;
  checkOptions(step, where);
  return step;
}

function checkOptions(step: PlanStep, where: string): void {
  if (step.kind === 'analysis') {
    const { options } = step;
    if (checksOf(step).length === 0)
      throw invalid(`${where}: an analysis has at least one of ${CHECKS.join(', ')}`);
    if (options.duration_s > options.timeout_s)
      throw invalid(`${where}: duration_s ${options.duration_s} must be <= timeout_s ${options.timeout_s}`);
  }
  if (step.kind === 'build') chunkingOf(step.options, where);
  if (step.kind === 'shadow' && step.options.duration_s > step.options.timeout_s)
    throw invalid(
      `${where}: duration_s ${step.options.duration_s} must be <= timeout_s ${step.options.timeout_s}`,
    );
}

/** `like the old version`: the plan says nothing of it; null: documents are not cut. Errors: INVALID_PLAN. */
export function chunkingOf(
  { chunk_tokens: tokensMax, chunk_overlap: overlap }: StepOptions<'build'>,
  where = 'build',
): Chunking | null | 'like the old version' {
  if (tokensMax === null || tokensMax === 0) {
    if (overlap !== null && overlap > 0) throw invalid(`${where}: chunk_overlap needs chunk_tokens`);
    return tokensMax === null ? 'like the old version' : null;
  }
  try {
    return checkChunking({ tokensMax, overlapTokens: overlap ?? 0 });
  } catch (thrown) {
    throw invalid(`${where}: ${toSwitchyardError(thrown).message}`);
  }
}

export const CHECKS = ['golden', 'shadow', 'service_time', 'error_rate', 'cost'] as const;
export type CheckKind = (typeof CHECKS)[number];

export const checksOf = (step: Extract<PlanStep, { readonly kind: 'analysis' }>): readonly CheckKind[] =>
  CHECKS.filter((check) => step.options[check] !== undefined);

/** Weight only after a passed gate, the old version warm until `complete`: a plan that says otherwise is none. */
function checkOrder(steps: readonly PlanStep[]): void {
  let weight = 0;
  let isGated = false;
  const seen = new Set<StepKind>();
  steps.forEach((step, at) => {
    const where = `step ${at + 1} (${step.kind})`;
    const { kind } = step;
    if (['build', 'verify', 'shadow', 'complete', 'retire'].includes(kind) && seen.has(kind))
      throw invalid(`${where}: a plan has one ${kind} at most`);
    if (seen.has('complete') && kind !== 'retire')
      throw invalid(`${where}: only retire comes after complete`);
    switch (step.kind) {
      case 'build':
        if (seen.has('verify')) throw invalid(`${where}: build comes before verify`);
        break;
      case 'shadow':
        if (weight > 0) throw invalid(`${where}: shadow comes before the first set_weight`);
        if (!seen.has('verify')) throw invalid(`${where}: verify comes before shadow`);
        break;
      case 'analysis':
        if (!seen.has('verify')) throw invalid(`${where}: verify comes before analysis`);
        checkAnalysis(step, where, seen, weight);
        isGated = true;
        break;
      case 'set_weight':
        if (step.options.weight <= weight)
          throw invalid(`${where}: weight ${step.options.weight} must be > ${weight}, the one before`);
        if (!isGated)
          throw invalid(
            `${where}: an analysis comes between ${weight} and ${step.options.weight} basis points`,
          );
        weight = step.options.weight;
        isGated = false;
        break;
      case 'complete':
        if (weight !== WEIGHT_TOTAL_BPS)
          throw invalid(`${where}: the weight before complete is ${weight}; must be ${WEIGHT_TOTAL_BPS}`);
        break;
      case 'retire':
        if (!seen.has('complete')) throw invalid(`${where}: complete comes before retire`);
        break;
      case 'verify':
      case 'pause':
        break;
      default:
        step satisfies never;
    }
    seen.add(kind);
  });
  if (!seen.has('complete')) throw invalid('it ends without complete');
}

function checkAnalysis(
  step: Extract<PlanStep, { readonly kind: 'analysis' }>,
  where: string,
  seen: ReadonlySet<StepKind>,
  weight: number,
): void {
  const { options } = step;
  const needsShadow = options.shadow !== undefined || (weight === 0 && options.service_time !== undefined);
  if (needsShadow && !seen.has('shadow'))
    throw invalid(`${where}: a shadow step comes before what mirrored reads are to show`);
  if (options.shadow !== undefined && weight > 0)
    throw invalid(`${where}: mirrored reads end with the first weight; check shadow before it`);
  if (options.golden !== undefined && !seen.has('shadow') && weight === 0)
    throw invalid(`${where}: a shadow step comes before golden: it loads the new version`);
  if (options.error_rate !== undefined && weight === 0)
    throw invalid(`${where}: error_rate is of served traffic; it comes after a set_weight`);
}

/** The plan as a document, every default said. */
export const planDocument = (plan: MigrationPlan): { readonly steps: readonly StepDocument[] } => ({
  steps: plan.steps.map(({ kind, options }) => ({ [kind]: options })),
});

/**
 * Shortest times, by the plan alone: to finish from step `from` on (confirmations take none), in seconds. Builds and
 * loading come on top.
 */
export function shortestSeconds(plan: MigrationPlan, from: number): number {
  return plan.steps.slice(from).reduce((sum, step) => {
    if (step.kind === 'shadow' || step.kind === 'analysis') return sum + step.options.duration_s;
    return step.kind === 'pause' ? sum + (step.options.duration_s ?? 0) : sum;
  }, 0);
}

/** `set_weight 1 %`: as operators say it. */
export function stepName(step: PlanStep): string {
  switch (step.kind) {
    case 'set_weight':
      return `set_weight ${step.options.weight / 100} %`;
    case 'analysis':
      return `analysis (${checksOf(step).join(', ')})`;
    case 'pause':
      return step.options.duration_s === null ? 'pause (confirm)' : `pause ${step.options.duration_s} s`;
    default:
      return step.kind;
  }
}

function boundsOf(schema: TSchema): string {
  const bounds = ['minimum', 'exclusiveMinimum', 'maximum'].flatMap((name) =>
    schema[name] === undefined ? [] : [`${name} ${schema[name]}`],
  );
  return bounds.length === 0 ? '' : ` (${bounds.join(', ')})`;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const invalid = (what: string): SwitchyardError =>
  new SwitchyardError('INVALID_PLAN', `the migration plan is not valid: ${what}`);
