import { readFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { findBundleFolder } from '../../src/index/bundle-folder.js';
import { VECTORS_FILE } from '../../src/index/file-names.js';
import type { Bundle } from '../../src/index/manifest.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { verifyBundle } from '../../src/index/verify-bundle.js';
import { type PlanStep, stepOfPlan } from '../../src/lifecycle/migration/plan-schema.js';
import type { Migration } from '../../src/lifecycle/migration/record.js';
import { CORPUS, until } from '../control/yard.js';
import { textsOf } from '../lifecycle/reembed-rig.js';
import type { Point } from './driver-points.js';
import { DOCUMENTS, INTERVAL, type KillRig, killRig, outcome, Relay } from './kill-rig.js';

const CAP_MS = 400_000;

type Inside = Omit<Point, 'event'>;
const inside = (at: string, nth = 1, when: Inside['when'] = 'after'): Inside => ({ at, nth, when });

/** Of each kind of step, where its work is under way: some of it is done, and nothing says so yet. */
function workOf(step: PlanStep, { placement }: Migration['state']['facts']): readonly Inside[] {
  switch (step.kind) {
    case 'build':
      return [
        // Within the first interval, and within the second.
        inside('progress documents embedded', 50),
        inside('progress documents embedded', INTERVAL + 50),
        // Published, and not recorded; recorded, and nobody heard it.
        inside('switchyard-verify online'),
        inside('builds.record'),
      ];
    case 'verify':
      return [inside('switchyard-verify online')];
    case 'shadow':
      return placement.kind === 'shadow' ? [inside('migrations.samplesSince', 2)] : [];
    case 'analysis':
      return step.options.golden === undefined
        ? [inside('migrations.samplesSince', 3)]
        : [
            // The new version's queries; the old version's, when those are written down; what was mirrored.
            inside('search', 20),
            inside('search', 80),
            inside('migrations.samplesSince'),
          ];
    case 'set_weight':
      return placement.kind === 'weighted' && placement.weightBps === step.options.weight
        ? [inside('gateways.list')]
        : [inside('desiredTargets.add')];
    case 'pause':
      return [inside('migrations.now')];
    case 'complete':
      return placement.kind === 'released' ? [] : [inside('routes.get', 2)];
    case 'retire':
      return [
        // The archive's rows are written; it is verified, the version taken out of service; deleted.
        inside('switchyard-archive file'),
        inside('archives.note', 1, 'before'),
        inside('corpusVersions.archive', 1, 'before'),
        inside('corpusVersions.archive'),
        inside('archives.note', 1, 'before'),
        inside('archives.note'),
      ];
    default:
      return step satisfies never;
  }
}

const isOver = ({ state, reportedAt }: Migration): boolean => reportedAt !== null || state.kind === 'paused';

async function ended({ latest }: KillRig): Promise<Migration> {
  const { value } = await until(
    'the migration ended and has its report',
    async () => {
      const migration = await latest();
      return isOver(migration) ? migration : null;
    },
    CAP_MS,
  );
  return value;
}

interface Calm {
  readonly outcome: unknown;
  readonly events: number;
  readonly bundle: Bundle;
}

async function bundleOf({ yard }: KillRig): Promise<Bundle> {
  const build = await yard.registry.builds.get({ corpus: CORPUS, version: 'v3' }, null);
  const place = { ...build, build: build.digest };
  return readBundle(await findBundleFolder(yard.config().bundlesDir, place));
}

/** The least cosine of a row's vector in one bundle and in the other. */
async function leastCosine(one: Bundle, other: Bundle): Promise<number> {
  const [left, right] = await Promise.all([vectorsOf(one), vectorsOf(other)]);
  const { full_dimensions: dimensions, row_count: rows } = one.manifest;
  const dot = (a: Float32Array, b: Float32Array): number =>
    a.reduce((sum, x, at) => sum + x * (b[at] ?? 0), 0);
  const cosines = Array.from({ length: rows }, (_, row) => {
    const [a, b] = [left, right].map((all) => all.subarray(row * dimensions, (row + 1) * dimensions));
    if (a === undefined || b === undefined) throw new TypeError('there are two');
    return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  });
  return Math.min(...cosines);
}

async function vectorsOf({ folder }: Bundle): Promise<Float32Array> {
  const bytes = await readFile(path.join(folder, VECTORS_FILE));
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** What one that nobody disturbs leaves behind. */
async function undisturbed(t: Test): Promise<Calm> {
  const rig = await killRig(t);
  const relay = new Relay(t, rig.drivers);
  const { migrationId } = await rig.start();
  const driver = relay.take();
  await driver.drive(null);
  const migration = await ended(rig);
  const events = await rig.yard.registry.migrations.events(migrationId);
  t.equal(migration.state.kind, 'completed', JSON.stringify(migration.state));
  t.equal(await driver.stop(), 0);
  await relay.end();
  t.same(rig.load.failures, []);
  return { outcome: await outcome(rig, migration), events: events.length, bundle: await bundleOf(rig) };
}

t.test('a migration whose driver is killed again and again', async (t) => {
  const calm = await undisturbed(t);
  await t.test(
    'killed at every step boundary and inside every step, it ends in the same state',
    async (t) => {
      const rig = await killRig(t);
      const { latest, endLease } = rig;
      const relay = new Relay(t, rig.drivers);
      const { plan } = await rig.start();
      const killed: Point[] = [];
      /** Of each run that was about it: documents that it embedded itself; those of a checkpoint come all at once. */
      const embedded: number[] = [];
      const kill = async (point: Point): Promise<Migration> => {
        const driver = relay.take();
        await driver.drive(point);
        const what = `killed ${point.when} ${point.nth} ${point.at} behind event ${point.event}`;
        let end: string | number | null = 'running';
        void driver.ended.then((how) => {
          end = how;
        });
        await until(what, async () => end !== 'running' || isOver(await latest()), CAP_MS);
        t.equal(end, 'SIGKILL', what);
        if (end !== 'SIGKILL') throw new Error(`not ${what}`);
        killed.push(point);
        const { length } = driver.embedded.filter((done, at, all) => done - (all[at - 1] ?? 0) === 1);
        if (driver.embedded.length > 0) embedded.push(length);
        await endLease();
        return latest();
      };

      const insideSteps = new Set<number>();
      const { events } = calm;
      for (let event = 1; event < events; event++) {
        const { state, sequence } = await latest();
        t.equal(sequence, event);
        if (state.kind !== 'running') throw new Error(`it is ${JSON.stringify(state)}`);
        for (const point of workOf(stepOfPlan(plan, state.at.step), state.facts)) {
          const after = await kill({ event, ...point });
          t.equal(after.sequence, event, 'and nothing was written meanwhile');
          insideSteps.add(state.at.step);
        }
        const next = { event, at: 'migrations.advance', nth: 1 };
        t.equal((await kill({ ...next, when: 'before' })).sequence, event);
        t.equal((await kill({ ...next, when: 'after' })).sequence, event + 1);
      }
      const reported = { event: events, at: 'migrations.noteReport', nth: 1 };
      await kill({ ...reported, when: 'before' });
      const last = relay.take();
      await last.drive(null);
      const migration = await ended(rig);
      await last.stop();
      await relay.end();

      const boundaries = killed.filter(({ at }) => at === 'migrations.advance');
      t.same(
        boundaries.map(({ event, when }) => `${when} ${event + 1}`),
        Array.from({ length: events - 1 }, (_, at) => [`before ${at + 2}`, `after ${at + 2}`]).flat(),
        'killed on both sides of every boundary',
      );
      t.same(
        [...insideSteps].map((step) => stepOfPlan(plan, step).kind),
        plan.steps.map(({ kind }) => kind),
        'and inside every step of the plan',
      );
      t.same(new Set(plan.steps.map(({ kind }) => kind)).size, 8, 'which has all kinds of steps');
      t.comment(`${killed.length} kills, ${killed.length - boundaries.length} of them inside`);

      t.same(await outcome(rig, migration), calm.outcome, 'the same state as the undisturbed one');
      await rig.load.stop();
      t.same(rig.load.failures, [], 'no request failed meanwhile');

      // Killed in the first interval, in the second, and twice when all was embedded.
      t.equal(embedded.length, 4);
      const [, , third = 0, fourth] = embedded;
      t.equal(third, DOCUMENTS - INTERVAL, 'a kill costs one interval at most');
      t.equal(fourth, 0, 'and nothing when all was embedded');
      const bundle = await bundleOf(rig);
      await verifyBundle(bundle);
      t.same(await textsOf(bundle), rig.documents, 'no document is missing, none comes twice');
      const cosine = await leastCosine(bundle, calm.bundle);
      t.ok(cosine > 0.9999, `each with the vector that the undisturbed build gave it: ${cosine}`);
    },
  );
});
