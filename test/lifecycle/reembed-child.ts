import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import type { Fingerprint } from '../../src/vocabulary.js';
import { appendFeed, buildWith, fileRecords, requestOf } from './reembed-rig.js';

/** Where the kill is to come, the build waits for it: behind it there is little left to do. */
const held = async (step: string): Promise<void> => {
  if (process.env.HOLD_AT === step) await setTimeout(60_000);
};

/**
 * A build for the tests that kill one: `reembed-child.js <var folder> <feed> <fingerprint>`. Prints each step as it comes.
 * Before its fifth checkpoint the feed grows once, so that there is something to replay, and once more when it is linked.
 */
async function main(varDir: string, feed: string, fingerprint: string): Promise<void> {
  const say = (line: string): boolean => process.stdout.write(`${line}\n`);
  const records = fileRecords(varDir, fingerprint as Fingerprint);
  const result = await buildWith(
    varDir,
    {
      ...records,
      record: async (bundle) => {
        say('record');
        await held('record');
        await records.record(bundle);
        say('recorded');
        await held('recorded');
      },
    },
    requestOf(feed),
    {
      onCheckpoint: (name) => {
        if (name === 'snapshot-000003.ckpt' && process.env.GROW === 'yes')
          appendFeed(feed, [
            { id: 'd3', version: 2, deleted: true },
            { id: 'd290', version: 2, deleted: true },
            { id: 'late', version: 1, text: 'came while it was embedded' },
            { id: 'd5', version: 2, text: 'changed while it was embedded' },
          ]);
        say(`checkpoint ${name}`);
      },
      onDocuments: (done) => say(`documents ${done}`),
      onPhase: (phase) => {
        if (phase === 'link' && process.env.GROW === 'yes' && !readFileSync(feed, 'utf8').includes('linked'))
          appendFeed(feed, [
            { id: 'd6', version: 2, deleted: true },
            { id: 'linked', version: 1, text: 'came while it was linked' },
          ]);
        say(`phase ${phase}`);
      },
    },
  );
  say(`done ${JSON.stringify(result.embedding)}`);
}

const [, , varDir, feed, fingerprint] = process.argv;
if (varDir !== undefined && feed !== undefined && fingerprint !== undefined)
  await main(varDir, feed, fingerprint);
