import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { loadConfig } from '../../src/config/load.js';
import { type BuildOrder, type BuildReply, RECORDED } from '../../src/lifecycle/migration/build/protocol.js';
import { tinyModelFolder } from '../fixtures/tiny-model.js';
import { documentsOf, writeFeed } from '../lifecycle/reembed-rig.js';

const PROGRAM = fileURLToPath(new URL('../../src/lifecycle/migration/build/child-main.js', import.meta.url));
const COUNT = 300;
const CHECKPOINT = 50;

t.test('a building process whose parent is gone ends without a word, and the next one goes on', async (t) => {
  const { folder, manifest } = await tinyModelFolder(t);
  const { fingerprint } = manifest;
  const varDir = path.dirname(path.dirname(folder));
  const feed = path.join(varDir, 'feed.jsonl');
  writeFeed(feed, documentsOf(COUNT));
  const overrides = { var_dir: varDir, 'reembed.batch_texts_max': 16 };
  const order: BuildOrder = {
    fingerprint,
    texts: null,
    earlier: [],
    config: loadConfig({ file: null, env: {}, cwd: varDir, overrides }),
    request: {
      corpus: 'docs_kb',
      version: 'v1',
      model: 'tiny@1-fp32',
      from: { kind: 'file', file: feed },
      documentTemplate: '{title}\n{text}',
      chunking: null,
      truncatedShareMax: 1,
      quantization: 'f32',
      expansionSearch: 64,
      checkpointDocuments: CHECKPOINT,
    },
  };
  const start = () => {
    const child = spawn(process.execPath, [PROGRAM], { stdio: ['pipe', 'pipe', 'pipe'] });
    child.stdin.on('error', () => undefined);
    child.stdin.write(`${JSON.stringify(order)}\n`);
    const replies = createInterface({ input: child.stdout });
    const onReply = (see: (reply: BuildReply) => void): void => {
      replies.on('line', (line) => see(JSON.parse(line) as BuildReply));
    };
    return { child, onReply, printed: text(child.stderr), ended: once(child, 'close') };
  };

  // A parent that is killed: its end of one pipe may be seen to be gone before that of the other.
  for (const gone of ['stdout', 'stdin'] as const) {
    const { child, onReply, printed, ended } = start();
    onReply((reply) => {
      if (reply.kind === 'documents' && reply.done > CHECKPOINT) child[gone].destroy();
    });
    t.same(await ended, [1, null], gone);
    t.equal(await printed, '', `${gone}: no trace of EPIPE`);
  }

  const { child, onReply, printed, ended } = start();
  let built: BuildReply | null = null;
  onReply((reply) => {
    if (reply.kind === 'published') child.stdin.write(`${RECORDED}\n`);
    if (reply.kind === 'built') built = reply;
  });
  t.same(await ended, [0, null]);
  t.equal(await printed, '');
  t.match(built, { kind: 'built', rows: COUNT });
  const { embedding } = built as unknown as Extract<BuildReply, { readonly kind: 'built' }>;
  t.ok((embedding?.documentsResumed ?? 0) >= CHECKPOINT, JSON.stringify(embedding));
});
