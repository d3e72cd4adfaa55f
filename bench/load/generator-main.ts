import type { FromGenerator, ToGenerator } from './load-protocol.js';
import { LoadRunner } from './load-runner.js';

/** Entry of the load generator's process: a child of the bench, which it ends with. */
const tell = (message: FromGenerator): void => {
  process.send?.(message);
};

let runner: LoadRunner | null = null;
process.on('message', (message: ToGenerator) => {
  void obey(message).catch((error: unknown) =>
    tell({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));

async function obey(message: ToGenerator): Promise<void> {
  if (message.kind === 'open') {
    runner = await LoadRunner.open(message.target, message.requests);
    tell({ kind: 'opened' });
    return;
  }
  if (runner === null) throw new Error('the generator was told to run before it was opened');
  tell({ kind: 'result', result: await runner.run(message.run) });
}
