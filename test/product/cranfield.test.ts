import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { cranfieldAbsence, ndcgAt10, readCranfield } from '../fixtures/cranfield.js';
import { searchClient } from '../fixtures/grpc-client.js';
import { runSwitchyard, serve } from '../fixtures/product.js';

/** nDCG@10 of MiniLM fp16 over the abstracts, exact search, binary gain. */
const EXPECTED = 0.395;
const TOLERANCE = 0.01;

const absence = cranfieldAbsence();
if (absence !== undefined) t.comment(absence);

t.test(
  'retrieval quality on Cranfield through gRPC is what the model is known for',
  { skip: absence ?? false },
  async (t) => {
    const { documents, queries, relevant } = await readCranfield();
    const varDir = mkdtempSync(path.join(tmpdir(), 'switchyard-cranfield-'));
    t.teardown(() => rmSync(varDir, { recursive: true, force: true }));
    const file = path.join(varDir, 'cranfield.jsonl');
    writeFileSync(file, documents.map((document) => `${JSON.stringify(document)}\n`).join(''));
    const run = (...args: string[]) => runSwitchyard(['--var-dir', varDir, '--admin-port', '1', ...args]);
    t.equal((await run('model', 'import', 'minilm')).code, 0);
    const build = [
      'corpus',
      'build',
      'cranfield',
      file,
      '--model',
      'all-minilm-l6-v2@1-fp16',
      '--template',
      '{text}',
    ];
    const built = await run(...build, '--truncated-share-max', '1');
    t.equal(built.code, 0, built.stderr);

    const gateway = await serve(varDir);
    t.teardown(() => gateway.stop());
    const client = searchClient(gateway.grpc);
    t.teardown(() => client.close());
    const scores = await Promise.all(
      queries.map(async ({ id, text }) => {
        const { hits } = await client.search({ corpus: 'cranfield', text, top_k: 10 });
        return ndcgAt10(
          hits.map((hit) => hit.id),
          relevant.get(id) ?? new Set(),
        );
      }),
    );
    const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
    t.equal(scores.length, 225);
    t.ok(
      Math.abs(mean - EXPECTED) <= TOLERANCE,
      `nDCG@10 ${mean.toFixed(4)}, expected ${EXPECTED} ± ${TOLERANCE}`,
    );
    t.equal(await gateway.stop(), 0);
  },
);
