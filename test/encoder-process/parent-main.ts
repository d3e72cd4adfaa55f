import { startProcessEncoder } from '../../src/encoder/process-encoder.js';
import { shortMiniLmFolder } from '../fixtures/model.js';

/** A process that starts an encoder, prints its pid, and is then killed by the test. */
const encoder = startProcessEncoder({
  folder: await shortMiniLmFolder('int8'),
  providers: ['cpu'],
  require: true,
  threads: 1,
  batchTokensMax: 1024,
  queueLengthMax: { live: 1, shadow: 1, bulk: 1 },
  textBytesMax: 1024,
  log: () => undefined,
});
await encoder.ready();
if (encoder.state.kind === 'ready') process.stdout.write(`${encoder.state.pid}\n`);
