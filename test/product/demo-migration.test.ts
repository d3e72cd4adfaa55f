import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/package-root.js';
import { processesMentioning } from '../fixtures/processes.js';
import { finished, spawnNode } from '../fixtures/product.js';

const DEMO = path.join(packageRoot(), 'dist', 'demo', 'migration.js');

/** The other three take minutes each: `npm run demo:migration` runs them all, and ends with 1 where one is not as it must be. */
t.test(
  'the demonstration of migrations: a gate refuses the worse model, and the report shows why',
  async (t) => {
    const varDir = mkdtempSync(path.join(tmpdir(), 'switchyard-demo-migration-'));
    t.teardown(() => rmSync(varDir, { recursive: true, force: true }));
    const { code, stdout, stderr } = await finished(
      spawnNode(DEMO, ['--smoke', '--json', '--var-dir', varDir]),
    );
    t.equal(code, 0, stderr);
    const results = JSON.parse(stdout) as readonly {
      readonly answered: Readonly<Record<string, number>>;
      readonly report: string;
      readonly run: { readonly commit: string | null; readonly documents: number };
    }[];
    t.match(results, [
      {
        name: 'MiniLM → USE-lite',
        outcome: 'refused',
        quality: 'worse',
        is_as_expected: true,
        failed_requests: 0,
        mispaired_responses: 0,
        rollback_ms: null,
        why: /^golden: ndcg@10 0\.\d{3} against 0\.\d{3}.*: worse/,
        took_s: Number,
        run: { machine: String, cores: Number, versions: { node: String } },
      },
    ]);
    t.equal(results.length, 1);
    const [{ answered, report, run } = { answered: {}, report: '', run: { commit: null, documents: 0 } }] =
      results;
    t.ok((answered.minilm ?? 0) > 0 && answered.use === undefined, 'the new version served nothing');
    t.ok(run.documents >= 300, `${run.documents} documents`);
    if (existsSync(path.join(packageRoot(), '.git'))) t.match(run.commit, /[0-9a-f]{7,}(-dirty)?$/);
    t.ok(existsSync(report), report);
    const page = readFileSync(report, 'utf8');
    t.match(page, /<h3>Of the golden set<\/h3>.*<td>ndcg@10<\/td><td>[01]\.\d{3}<\/td><td>0\.\d{3}<\/td>/);
    t.match(page, /<h3>Of mirrored reads<\/h3>.*<td>[0-9a-f]{32}<\/td>/, 'of what clients asked, hashes');
    t.same(processesMentioning(varDir), []);
  },
);
