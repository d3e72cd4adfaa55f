import { parentPort } from 'node:worker_threads';
import { buildBundle } from '../../src/index/build-bundle.js';
import { batchesOf, optionsOf, testCorpus } from './corpus.js';

/**
 * A building process for the tests that kill one: `build-child.js <bundles folder> <documents>`. Prints every phase
 * as it starts, and the folder at the end.
 */
async function main(bundlesFolder: string, documents: number): Promise<void> {
  const corpus = testCorpus(1, documents, 64);
  let lastPhase = '';
  const options = optionsOf(bundlesFolder, {
    dimensions: 64,
    storeDocuments: true,
    onProgress: ({ phase, rowsDone }) => {
      if (phase !== lastPhase || phase === 'add') process.stdout.write(`${phase} ${rowsDone}\n`);
      lastPhase = phase;
    },
  });
  const bundle = await buildBundle(options, batchesOf(corpus));
  process.stdout.write(`done ${bundle.folder}\n`);
}

const [, , bundlesFolder, documents] = process.argv;
if (bundlesFolder !== undefined && parentPort === null) await main(bundlesFolder, Number(documents));
