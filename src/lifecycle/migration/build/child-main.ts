import { createInterface } from 'node:readline';
import type { Config } from '../../../config/config.js';
import { toSwitchyardError } from '../../../errors.js';
import { yieldProcessors } from '../../../process/yield-processors.js';
import { createLogger } from '../../../telemetry/log.js';
import type { Digest, Fingerprint } from '../../../vocabulary.js';
import type { BuildRecords } from '../../build-records.js';
import { rebuildCorpus } from '../../rebuild.js';
import { type BuildOrder, type BuildReply, RECORDED } from './protocol.js';

/**
 * Builds one corpus version in a process of its own, away from what serves. It writes files and no registry: the parent
 * records what is published, and checkpoints are kept until it says so. When the parent is gone, so is this.
 */
const say = (reply: BuildReply): void => {
  process.stdout.write(`${JSON.stringify(reply)}\n`);
};

async function run(order: BuildOrder, untilRecorded: Promise<void>): Promise<void> {
  const { request, fingerprint, config, texts, earlier } = order;
  const log = createLogger('warn');
  // Before there are threads, which inherit it.
  if (!yieldProcessors(config.reembed)) log.info('scheduling idle cannot be had here: the niceness alone is');
  let published: { readonly digest: Digest; readonly rows: number } | null = null;
  const records: BuildRecords = {
    resolveModel: async () => fingerprint as Fingerprint,
    findBuild: async () => {
      if (texts === null) throw new TypeError('a build from a file asks for no other build');
      return texts;
    },
    buildsOf: async () => earlier,
    begin: async () => undefined,
    fail: async () => undefined,
    record: async ({ digest, manifest }) => {
      published = { digest, rows: manifest.row_count };
      say({ kind: 'published', digest });
      await untilRecorded;
    },
    routeFirst: async () => false,
  };
  const { embedding } = await rebuildCorpus(request, {
    config: config as Config,
    records,
    log,
    yields: true,
    events: {
      onCounted: (documents) => say({ kind: 'counted', documents }),
      onDocuments: (done) => say({ kind: 'documents', done }),
      onPhase: (phase) => say({ kind: 'phase', phase }),
    },
    signal: new AbortController().signal,
  });
  const { digest, rows } = published ?? { digest: '', rows: 0 };
  say({ kind: 'built', digest, rows, embedding });
}

/** Where it is damaged Node's own message would quote it, and it holds the configuration. */
function orderOf(line: string): BuildOrder {
  try {
    return JSON.parse(line) as BuildOrder;
  } catch {
    process.stderr.write('the order of a build is no JSON\n');
    process.exit(1);
  }
}

/** What it wrote so far is for the next one to go on from, as when it is killed. */
const end = (): never => process.exit(1);
// The parent holds the other ends for as long as it lives; whichever is seen to be gone first.
const lines = createInterface({ input: process.stdin });
lines.once('close', end);
process.stdout.on('error', end);
process.stderr.on('error', end);
const untilRecorded = new Promise<void>((resolve) => {
  lines.on('line', (line) => {
    if (line === RECORDED) resolve();
  });
});
lines.once('line', (line) => {
  run(orderOf(line), untilRecorded).then(
    () => process.stdout.write('', () => process.exit(0)),
    (thrown: unknown) => {
      const { reason, message } = toSwitchyardError(thrown);
      say({ kind: 'failed', reason, message });
      process.stdout.write('', () => process.exit(1));
    },
  );
});
