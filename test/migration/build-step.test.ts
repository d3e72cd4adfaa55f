import { appendFile, mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { MigrationHandlers } from '../../src/gateway/admin/migration-handlers.js';
import type { BundleManifest } from '../../src/index/manifest.js';
import { commandMigration } from '../../src/lifecycle/migration/commands.js';
import { MigrationMeter } from '../../src/lifecycle/migration/meter.js';
import { type Migration, readMigration } from '../../src/lifecycle/migration/record.js';
import { MigrationRunner } from '../../src/lifecycle/migration/runner.js';
import { migrationPorts } from '../../src/lifecycle/migration/standard-ports.js';
import { startMigration } from '../../src/lifecycle/migration/start.js';
import { modelRef } from '../../src/vocabulary.js';
import { switchyard } from '../control/processes.js';
import { AUTHOR, CORPUS, makeYard, until, type Yard } from '../control/yard.js';
import { silentLog } from '../fixtures/postgres.js';

const LONG = 'a striped animal that sleeps all day in the shade of a tree and hunts at night near the river';
const DOCUMENTS = Array.from({ length: 8 }, (_, at) => ({
  id: `d${at}`,
  version: 1,
  text: `${LONG}, ${at} times`,
}));
const lines = (documents: readonly object[]): string =>
  documents.map((document) => `${JSON.stringify(document)}\n`).join('');

interface Findings {
  readonly build: Readonly<Record<string, unknown>>;
  readonly verify: Readonly<Record<string, unknown>>;
}

/** Drives migrations up to the confirmation behind `verify`, without any gateway. */
class Rig {
  readonly #yard: Yard;
  readonly #runner: MigrationRunner;

  constructor(t: Test, yard: Yard) {
    this.#yard = yard;
    const config = yard.config();
    const reembed = { ...config.reembed, niceness: 0 };
    this.#runner = new MigrationRunner({
      registry: () => yard.registry,
      gatewayId: 'a-test',
      ports: (registry) =>
        migrationPorts(registry, {
          config: { ...config, reembed },
          searchOf: () => {
            throw new TypeError('nothing is searched before it is confirmed');
          },
          worstMirrored: () => [],
          log: silentLog,
        }),
      meter: new MigrationMeter(),
      bundlesDir: config.bundlesDir,
      settings: { ...config.migration, pollIntervalMs: 50 },
      log: silentLog,
    });
    t.teardown(() => this.#runner.close());
  }

  async begin(
    toVersion: string,
    steps: { readonly build?: object; readonly verify?: object },
  ): Promise<void> {
    const { build, verify = {} } = steps;
    const plan = JSON.stringify({
      steps: [
        ...(build === undefined ? [] : [{ build }]),
        { verify },
        { pause: {} },
        { shadow: {} },
        { analysis: { shadow: {} } },
        { set_weight: { weight: 10_000 } },
        { complete: {} },
      ],
    });
    await startMigration(this.#yard.registry, { corpus: CORPUS, toVersion, plan }, AUTHOR);
    this.#runner.look();
  }

  /** Where it waits for a person, and why; then it is aborted. */
  async waits(): Promise<{
    readonly cause: string;
    readonly why: string;
    readonly findings: Findings;
    readonly warnings: readonly string[];
  }> {
    const { registry } = this.#yard;
    const { migrations } = registry;
    const latest = async (): Promise<Migration> => readMigration(await migrations.latest(CORPUS));
    const { value } = await until('it waits', async () => {
      const migration = await latest();
      return migration.state.kind === 'paused' ? migration : null;
    });
    const { state, migrationId } = value;
    if (state.kind !== 'paused') throw new TypeError('it is paused');
    const found = (await migrations.events(migrationId)).map(
      ({ event }) => event as { readonly kind: string; readonly findings?: Findings['build'] },
    );
    const of = (kind: string) => found.find((event) => event.kind === kind)?.findings ?? {};
    const handlers = new MigrationHandlers({ registry: () => registry, facts: null });
    const { warnings } = await handlers.get({ corpus: CORPUS });
    await commandMigration(registry, CORPUS, 'abort', AUTHOR);
    await until('it ended', async () => (await latest()).finishedAt !== null);
    return {
      cause: state.cause,
      why: state.why,
      findings: { build: of('step_done'), verify: of('verified') },
      warnings,
    };
  }
}

const manifestOf = async ({ registry }: Yard, version: string): Promise<BundleManifest> =>
  (await registry.builds.get({ corpus: CORPUS, version })).manifest as BundleManifest;

t.test('the build step of a plan', async (t) => {
  const yard = await makeYard(t);
  const { registry, varDir } = yard;
  const rig = new Rig(t, yard);
  const sources = path.join(varDir, 'sources');
  const feed = path.join(sources, 'docs.jsonl');
  await mkdir(sources);
  await writeFile(feed, lines(DOCUMENTS));
  const model = modelRef(yard.int8.manifest);
  const build = { model, source: 'docs.jsonl', quantization: 'f32', chunk_tokens: 10, chunk_overlap: 2 };

  await t.test('cuts documents as it says, and what is verified is documents', async (t) => {
    await rig.begin('v3', { build, verify: { missing_share_max: 0 } });
    const { cause, why, findings } = await rig.waits();
    t.equal(cause, 'plan', why);
    t.match(findings.build, { built: true });
    t.match(findings.verify, { documents: 8, documents_before: 8, vectors_before: 8, feed: 'docs.jsonl' });
    t.ok(Number(findings.verify.vectors) >= 16, `${findings.verify.vectors} chunks`);
    t.match(await manifestOf(yard, 'v3'), {
      chunking: { tokens_max: 10, overlap_tokens: 2 },
      source: { name: 'docs.jsonl', watermark: /^feed1:/, feed: 'docs.jsonl' },
    });
  });

  await t.test('takes what is there already when that is what it says, and says what it took', async (t) => {
    for (const same of [build, { source: 'docs.jsonl' }, {}]) {
      await rig.begin('v3', { build: same });
      const { cause, why, findings } = await rig.waits();
      t.equal(cause, 'plan', why);
      t.match(findings.build, {
        built: false,
        model,
        source: { name: 'docs.jsonl' },
        why: /docs\/v3 was built before and is taken as it is: build \w{16} by .*, 8 documents in \d+ chunks of docs\.jsonl up to feed1:/,
      });
    }
  });

  await t.test('refuses what is there and is another, when it is started', async (t) => {
    for (const [other, message] of [
      [{ model: modelRef(yard.fp16.manifest) }, /its model is .*, the plan says/],
      [{ quantization: 'i8' }, /quantization is "f32", the plan says "i8"/],
      [{ expansion_search: 7 }, /expansion_search is 128, the plan says 7/],
      [{ document_template: '{title}' }, /document_template is .*, the plan says "\{title\}"/],
      [{ chunk_tokens: 0 }, /chunk_tokens is 10, the plan says 0/],
      [{ chunk_tokens: 10, chunk_overlap: 5 }, /chunk_overlap is 2, the plan says 5/],
    ] as const)
      await t.rejects(rig.begin('v3', { build: other }), { reason: 'STATUS_CONFLICT', message });
    await t.rejects(rig.begin('v77', { build: {} }), {
      reason: 'UNKNOWN_CORPUS_VERSION',
      message: /docs has no version v77; it has .*name its model in a plan/,
    });
    await t.rejects(rig.begin('v3', { build: { model: 'nobody@1' } }), {
      name: 'SwitchyardError',
      reason: 'UNKNOWN_MODEL',
    });
  });

  await t.test('refuses what was built from another source', async (t) => {
    await writeFile(
      path.join(sources, 'other.jsonl'),
      lines(DOCUMENTS.map((document) => ({ ...document, text: 'x' }))),
    );
    await writeFile(
      path.join(sources, 'plain.jsonl'),
      lines(DOCUMENTS.map(({ id, text }) => ({ id, text }))),
    );
    for (const source of ['other.jsonl', 'plain.jsonl']) {
      await rig.begin('v3', { build: { source } });
      t.match(await rig.waits(), {
        cause: 'failure',
        why: /docs\/v3 has build \w{16} already, which is not what the plan's build step says: it was built from/,
      });
    }
  });

  await t.test(
    'a version that was built beforehand carries its feed: the gate knows how far that is ahead',
    async (t) => {
      const built = await switchyard(
        varDir,
        ...[
          'corpus',
          'build',
          CORPUS,
          feed,
          '--corpus-version',
          'v5',
          '--model',
          model,
          '--quantization',
          'f32',
        ],
      );
      t.equal(built.code, 0, built.stderr);
      await appendFile(feed, lines([0, 1, 2].map((at) => ({ id: `d${at}`, version: 2, text: 'changed' }))));
      for (const version of ['v3', 'v5']) {
        await rig.begin(version, { verify: { source_lag_documents_max: 2 } });
        t.match(await rig.waits(), {
          cause: 'failure',
          why: /the source is 3 documents ahead of docs\/v\d, at most 2 may be missing/,
        });
        await rig.begin(version, { verify: { source_lag_documents_max: 3 } });
        t.match(await rig.waits(), { cause: 'plan', findings: { verify: { source_lag_documents: 3 } } });
      }
    },
  );

  await t.test('a feed that cannot be found is not taken for one that is not ahead', async (t) => {
    await rename(feed, `${feed}.away`);
    await rig.begin('v5', {});
    t.match(await rig.waits(), {
      cause: 'failure',
      why: /how far the source is ahead of docs\/v5 cannot be told, and source_lag_documents_max is 1000: there is no source docs\.jsonl/,
    });
    await rig.begin('v5', { verify: { source_lag_documents_max: null } });
    t.match(await rig.waits(), { cause: 'plan', findings: { verify: { source_lag_documents: null } } });
    await rename(`${feed}.away`, feed);
  });

  await t.test('from the texts of a version it cuts as that did, and the feed is the same', async (t) => {
    await registry.routes.change({
      corpus: CORPUS,
      targets: [{ version: 'v3', build: null, role: 'active', weightBps: 10_000, tier: 'ssd', mirrorBps: 0 }],
      expectedRevision: (await registry.routes.get(CORPUS)).revision,
      force: true,
      ...AUTHOR,
    });
    await rig.begin('v6', {
      build: { model: modelRef(yard.fp16.manifest) },
      verify: { missing_share_max: 0 },
    });
    const { cause, why, findings, warnings } = await rig.waits();
    t.equal(cause, 'plan', why);
    t.match(findings.verify, { documents: 8, feed: 'docs.jsonl', source_lag_documents: 3 });
    t.equal(findings.verify.vectors, findings.verify.vectors_before, 'as many chunks');
    t.match(await manifestOf(yard, 'v6'), {
      chunking: { tokens_max: 10, overlap_tokens: 2 },
      quantization: 'bf16',
      source: { name: 'docs/v3', feed: 'docs.jsonl' },
    });
    t.match(warnings, [/v6 comes from the texts that v3 keeps.*the feed docs\.jsonl is not followed/]);
  });
});
