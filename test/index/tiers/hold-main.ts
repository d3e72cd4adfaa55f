import { openIndex } from '../../../src/index/open-index.js';
import { readBundle } from '../../../src/index/read-bundle.js';
import { DramTier } from '../../../src/index/tiers/dram-tier.js';

/** Holds a bundle in tier dram until it is killed. */
const [memoryDir = '', folder = ''] = process.argv.slice(2);
const bundle = await readBundle(folder);
const { model, full_dimensions: dimensions, metric } = bundle.manifest;
const dram = new DramTier({ memoryDir, bytesMax: 1e9 });
await openIndex(bundle, {
  workers: 1,
  queueLengthMax: 10,
  expected: { fingerprint: model.fingerprint, dimensions, metric },
  place: dram.place,
});
process.stdout.write('held\n');
setInterval(() => {}, 1000);
