import type { Test } from 'tap';
import type { MigrationView } from '../../src/gateway/admin/migration-views.js';
import type { Registry } from '../../src/registry/registry.js';
import { AUTHOR, CORPUS } from '../control/yard.js';
import { ask, untilMigration } from './migrating.js';

const PASSED = { error_rate: { samples_min: 1, increase_max: 1 }, interval_s: 0.05 };

/** Stops at a confirmation behind each thing it does. */
export const CONFIRMED_PLAN = JSON.stringify({
  steps: [
    { pause: {} },
    { verify: {} },
    { shadow: { duration_s: 0, compared_min: 1, timeout_s: 300 } },
    { analysis: { shadow: { compared_min: 1, failed_share_max: 1 }, interval_s: 0.05 } },
    { pause: {} },
    { set_weight: { weight: 5_000 } },
    { analysis: PASSED },
    { pause: {} },
    { set_weight: { weight: 10_000 } },
    { analysis: PASSED },
    { pause: {} },
    { complete: {} },
  ],
});

/** Its confirmations, as numbers of steps from 0: nothing done, mirrored to, half the weight, all of it. */
export const CONFIRMATIONS = { untouched: 0, shadow: 4, half: 7, all: 10 } as const;
export type Confirmation = keyof typeof CONFIRMATIONS;

/** A migration of the corpus to v2 by this plan, over the admin API. */
export class Confirmed {
  readonly #admin: string;
  readonly #migrations: string;

  constructor(admin: string) {
    this.#admin = admin;
    this.#migrations = `${admin}/v1/migrations/${CORPUS}`;
  }

  async begin(t: Test): Promise<void> {
    const body = { to_version: 'v2', plan: CONFIRMED_PLAN, ...AUTHOR };
    const started = await ask<MigrationView>(this.#migrations, 'POST', body);
    t.equal(started.status, 200, `started ${started.status === 200 ? '' : JSON.stringify(started.body)}`);
  }

  /** Until it waits there; whatever it asks before is confirmed. */
  async goTo(t: Test, wanted: Confirmation): Promise<MigrationView> {
    for (const at of Object.values(CONFIRMATIONS)) {
      const view = await untilMigration(this.#admin, CORPUS, `waits at step ${at + 1}`, (view) => {
        return view.state === 'paused' && (view.step ?? 0) - 1 >= at;
      });
      t.match(view, { cause: 'plan', step: at + 1 }, view.why ?? '');
      if (at === CONFIRMATIONS[wanted]) return view;
      await this.command('promote');
    }
    throw new TypeError(`there is no confirmation ${wanted}`);
  }

  async command(verb: 'promote' | 'abort' | 'rollback' | 'resume') {
    return ask<MigrationView>(`${this.#migrations}:${verb}`, 'POST', AUTHOR);
  }

  until(what: string, wanted: (view: MigrationView) => boolean): Promise<MigrationView> {
    return untilMigration(this.#admin, CORPUS, what, wanted);
  }
}

/** The old version alone is in the route again. */
export async function oldVersionAlone({ routes }: Registry): Promise<void> {
  await routes.change({
    corpus: CORPUS,
    targets: [{ version: 'v1', build: null, role: 'active', weightBps: 10_000, tier: 'ssd', mirrorBps: 0 }],
    expectedRevision: (await routes.get(CORPUS)).revision,
    ...AUTHOR,
  });
}
