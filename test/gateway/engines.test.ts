import path from 'node:path';
import t from 'tap';
import { loadConfig } from '../../src/config/load.js';
import { Engines } from '../../src/gateway/wiring/engines.js';
import { observeEngines } from '../../src/gateway/wiring/metrics.js';
import type { TargetSpec } from '../../src/router/targets.js';
import { Metrics } from '../../src/telemetry/metrics.js';
import { modelRef } from '../../src/vocabulary.js';
import { shortMiniLmFolder, shortModelsFolder } from '../fixtures/model.js';
import { silentLog } from '../fixtures/postgres.js';
import { buildTestBundle, queryOf, rowOf, temporaryFolder, testCorpus } from '../index/corpus.js';
import { isRunning } from '../process/wait.js';

t.test('an isolated target is opened in a process of its own, a shared one is not', async (t) => {
  const { manifest: model } = await shortMiniLmFolder('int8');
  const varDir = temporaryFolder(t);
  const config = {
    ...loadConfig({ file: null, env: {}, cwd: varDir, overrides: {} }),
    modelsDir: shortModelsFolder(),
    bundlesDir: path.join(varDir, 'bundles'),
  };
  const corpus = testCorpus(1, 200, model.dimensions);
  const { name, version, fingerprint } = model;
  const bundle = await buildTestBundle(config.bundlesDir, corpus, { model: { name, version, fingerprint } });
  const spec: TargetSpec = {
    corpus: 'docs_kb',
    version: 'v1',
    build: bundle.digest,
    fingerprint,
    modelRef: modelRef(model),
    tier: 'dram',
    bundleUri: `file://${bundle.folder}`,
    isolation: 'shared',
  };
  const engines = new Engines(config, silentLog);
  const metrics = new Metrics();
  t.teardown(async () => {
    metrics.close();
    await engines.close();
  });
  observeEngines(metrics, engines);
  const shared = await engines.openTarget(spec);
  t.same([engines.pool.counters.openIndexes, engines.processes.indexes.length], [1, 0]);
  const isolated = await engines.openTarget({ ...spec, isolation: 'isolated' });
  t.same([engines.pool.counters.openIndexes, engines.processes.counters.openIndexes], [1, 1]);
  const values = rowOf(corpus, 7);
  const query = queryOf(values, { vector: { fingerprint, values } });
  t.strictSame((await isolated.search(query)).hits, (await shared.search(query)).hits);
  const text = await metrics.text();
  t.match(text, /^switchyard_index_process_open 1$/m);
  t.match(text, /^switchyard_index_process_restarts_total 0$/m);
  t.match(text, /^switchyard_index_process_info\{.*version="v1".*state="ready"\} 1$/m);
  const state = engines.processes.indexes[0]?.state;
  await engines.close();
  t.notOk(state?.kind === 'ready' && isRunning(state.pid));
});
