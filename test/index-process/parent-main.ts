import { IndexProcesses } from '../../src/index/process/index-processes.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { pidOf } from './start.js';

/** A process that opens the bundle it is told to in an index process, prints its pid, and is then killed by the test. */
const bundle = await readBundle(process.argv[2] as string);
const { model, full_dimensions: dimensions, metric } = bundle.manifest;
// Tests share their cores with other tests.
const processes = new IndexProcesses({ workers: 1, queueLengthMax: 1, niceness: 0, log: () => undefined });
const index = await processes.open(bundle, {
  expected: { fingerprint: model.fingerprint, dimensions, metric },
});
process.stdout.write(`${pidOf(index)}\n`);
