import { appendFile } from 'node:fs/promises';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import type { BesideQuestion, BesideReply } from '../../src/encoder/beside-protocol.js';
import { startSession } from '../../src/encoder/child-start.js';

/** An encoder process whose tokenizer is replaced when its main thread has opened the model, before the one beside has. */
const thread = new Worker(new URL('../../src/encoder/child-front-thread.js', import.meta.url));
thread.on('message', async (question: BesideQuestion) => {
  if (question.kind === 'leave' || question.request.kind !== 'open') process.exit(0);
  const { config } = question.request;
  const { session, measured, ...ready } = await startSession(config);
  await appendFile(path.join(config.folder, 'tokenizer.json'), ' ');
  const answer = { kind: 'opened', manifest: session.manifest, measured, ready } as const;
  thread.postMessage({ id: question.id, answer } satisfies BesideReply);
});
