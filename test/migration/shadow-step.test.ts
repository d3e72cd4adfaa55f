import { randomUUID } from 'node:crypto';
import t from 'tap';
import { compilePlan } from '../../src/lifecycle/migration/plan.js';
import type { WorkProgress } from '../../src/lifecycle/migration/ports.js';
import type { StepContext } from '../../src/lifecycle/migration/step.js';
import { runShadow } from '../../src/lifecycle/migration/steps/shadow.js';
import type { Digest } from '../../src/vocabulary.js';
import { startTestRegistry } from '../fixtures/postgres.js';

const BUILD = 'b'.repeat(64) as Digest;

t.test(
  'whoever waits for the first mirrored read sees which replica has not loaded the version',
  async (t) => {
    const registry = await startTestRegistry(t);
    const beat = (gatewayId: string, readyTargets: readonly Digest[], lastError: string | null) =>
      registry.gateways.heartbeat({
        ...{ gatewayId, address: `http://${gatewayId}:8081`, appliedRevisions: {} },
        ...{ readyTargets, lastError },
      });
    await beat('one', [BUILD], null);
    await beat('two', [], 'MEMORY_BUDGET: no room');
    const said: WorkProgress[] = [];
    const enough = new Error('the test has seen enough');
    const { steps } = compilePlan({
      steps: [
        { verify: {} },
        { shadow: { compared_min: 1 } },
        { analysis: { shadow: {} } },
        { set_weight: { weight: 10_000 } },
        { complete: {} },
      ],
    });
    const context = {
      migration: { migrationId: randomUUID(), corpus: 'docs', toVersion: 'v2' },
      state: {
        facts: {
          placement: { kind: 'shadow', mirrorBps: 10_000 },
          verified: { build: BUILD, watermark: null },
          measuredFrom: new Date(0).toISOString(),
        },
      },
      step: steps[1],
      registry,
      onProgress: (progress: WorkProgress) => said.push(progress),
      elapsedMs: async () => 0,
      wait: async () => {
        throw enough;
      },
    } as unknown as StepContext<'shadow'>;
    await t.rejects(runShadow(context), enough);
    t.match(said, [
      {
        what: 'reads compared; the new version is not loaded by two at http://two:8081 (MEMORY_BUDGET: no room)',
        done: 0,
      },
    ]);
    await beat('two', [BUILD], null);
    await t.rejects(runShadow(context), enough);
    t.match(said[1], { what: 'reads compared', done: 0 });
  },
);
