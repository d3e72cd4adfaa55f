import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import t from 'tap';
import { checkDram } from '../../src/cli/doctor/dram.js';
import { measureMemoryFolder } from '../../src/index/tiers/measure-memory.js';
import { testConfig } from '../control/yard.js';
import { buildTestBundle, optionsOf, temporaryFolder, testCorpus } from '../index/corpus.js';

t.test(
  'searches in a memory folder are measured beside the page cache, and nothing stays there',
  async (t) => {
    const home = temporaryFolder(t);
    const memory = mkdtempSync('/dev/shm/switchyard-test-');
    t.teardown(() => rmSync(memory, { recursive: true, force: true }));
    const [small, large] = [testCorpus(1, 300, 32), testCorpus(2, 4_000, 512)];
    const bundles = [
      await buildTestBundle(home, small, optionsOf(home, { version: 'v1' })),
      await buildTestBundle(
        home,
        large,
        optionsOf(home, { version: 'v2', dimensions: 512, quantization: 'f32' }),
      ),
    ] as const;
    const ratio = await measureMemoryFolder(bundles[0], memory);
    t.ok(Number.isFinite(ratio) && ratio > 0, `${ratio} of its time in the page cache`);
    t.same(readdirSync(memory), []);

    const { tiers, ...config } = testConfig(home, null);
    const doctor = (some: readonly (typeof bundles)[number][]) =>
      checkDram({ ...config, tiers: { ...tiers, memoryDir: memory } }, some);
    const [dram, huge] = await doctor(bundles);
    t.match(dram, { check: 'dram tier', finding: new RegExp(`free in ${memory}, .* all builds take `) });
    t.match(huge, {
      check: 'huge pages',
      finding: new RegExp(`a search in ${memory} takes [0-9]+\\.[0-9]{2} of its time`),
    });
    if (huge?.level === 'warn') t.match(huge.advice, /huge=always/);
    else t.equal(huge?.level, 'ok');
    t.same(readdirSync(memory), []);
    t.match((await doctor([bundles[0]]))[1], {
      level: 'ok',
      finding: /no index of .* or more to measure with/,
    });
  },
);
