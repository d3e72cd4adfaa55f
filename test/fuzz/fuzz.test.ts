import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { REASONS, SwitchyardError } from '../../src/errors.js';
import { packageRoot } from '../../src/package-root.js';
import { TestRandom } from '../fixtures/random.js';
import { mutated } from './mutate.js';
import { type FuzzTarget, fuzzTargets } from './targets.js';

/** The same cases on every machine; another seed finds others: SWITCHYARD_FUZZ_SEED=2. */
const SEED = Number(process.env.SWITCHYARD_FUZZ_SEED ?? 1);
const CASES_MIN = 100_000;
/** One case may not take longer, whatever it holds; generous for a busy machine. */
const CASE_MS_MAX = 5_000;
/** Inputs that once broke something or easily could, as base64 by target: new ones are added here. */
const KEPT = JSON.parse(
  readFileSync(path.join(packageRoot(), 'test', 'fixtures', 'fuzz-inputs.json'), 'utf8'),
) as Readonly<Record<string, readonly string[]>>;

/** Null when the bytes were taken, or refused by a catalogued error; else what happened. */
async function fault(target: FuzzTarget, bytes: Buffer): Promise<string | null> {
  const begunAtMs = performance.now();
  try {
    // Most are done at once: a turn of the event loop each would cost more than they do.
    const running = target.run(bytes);
    if (running !== undefined) await running;
  } catch (error) {
    if (!(error instanceof SwitchyardError)) return `threw ${(error as Error).stack}`;
    if (!Object.hasOwn(REASONS, error.reason) || error.reason === 'INTERNAL')
      return target.name === 'frames of child processes' ? null : `was ${error.reason}: ${error.message}`;
  }
  const tookMs = performance.now() - begunAtMs;
  return tookMs > CASE_MS_MAX ? `took ${tookMs} ms` : null;
}

t.test('any bytes are taken or refused, nothing else', async (t) => {
  const targets = fuzzTargets(t.testdir({}));
  t.same(
    Object.keys(KEPT).filter((name) => !targets.some((target) => target.name === name)),
    [],
    'kept inputs belong to a target',
  );
  let cases = 0;
  for (const [at, target] of targets.entries()) {
    for (const seed of target.seeds)
      await t.resolves(async () => target.run(seed), `${target.name}: a seed is right`);
    for (const kept of KEPT[target.name] ?? [])
      t.equal(await fault(target, Buffer.from(kept, 'base64')), null, `${target.name}: ${kept.slice(0, 60)}`);
    const random = new TestRandom(SEED * 1_000 + at);
    let found: string | null = null;
    for (let run = 0; run < target.cases && found === null; run++, cases++) {
      const bytes = mutated(target.seeds, random);
      const what = await fault(target, bytes);
      if (what !== null)
        found = `${what}\nkeep it in test/fixtures/fuzz-inputs.json: ${bytes.toString('base64')}`;
    }
    t.equal(found, null, `${target.name}: ${target.cases} cases from seed ${SEED}`);
  }
  t.ok(cases >= CASES_MIN, `${cases} cases`);
});
