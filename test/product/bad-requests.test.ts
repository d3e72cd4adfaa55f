import { readFileSync } from 'node:fs';
import t from 'tap';
import { GRPC_CODES, REASONS } from '../../src/errors.js';
import { modelRef } from '../../src/vocabulary.js';
import { CORPUS, makeYard } from '../control/yard.js';
import { serve } from '../fixtures/product.js';
import { badRequestCases } from '../gateway/bad-request-cases.js';
import { clientsOf, type Outcome } from '../gateway/harness.js';

const ROUNDS = 3;
/** A round sends some 15 MB; what stays of them must be far less. */
const GROWTH_MB_MAX = 50;

const rssMb = (pid: number): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1000;

/** The table of test/gateway/bad-requests, which has an engine in memory, once more against all that ships. */
t.test('a gateway as it ships answers every bad request with its reason, and lives', async (t) => {
  const { varDir, fp16, int8, registry } = await makeYard(t);
  await registry.close();
  const gateway = await serve(varDir);
  t.teardown(() => gateway.stop());
  const clients = clientsOf(gateway.grpc, gateway.http);
  t.teardown(() => clients.client.close());
  const cases = badRequestCases({
    corpus: CORPUS,
    model: modelRef(fp16.manifest),
    dimensions: fp16.manifest.dimensions,
    otherModel: modelRef(int8.manifest),
  });
  const question = { corpus: CORPUS, text: 'a big cat with stripes', top_k: 3 };
  const before = await clients.call('Search', question);
  t.equal(before.reason, 'OK');

  const sent = async (): Promise<(readonly [string, Outcome, number | string, string])[]> => {
    const outcomes: (readonly [string, Outcome, number | string, string])[] = [];
    for (const { name, reason, grpc, http } of cases) {
      const entry = REASONS[reason];
      if (grpc !== undefined) {
        const outcome = Buffer.isBuffer(grpc)
          ? await clients.callRaw('Search', grpc)
          : await clients.call('Search', grpc);
        outcomes.push([`grpc: ${name}`, outcome, GRPC_CODES[entry.grpc], reason]);
      }
      if (http !== undefined) {
        const outcome =
          typeof http === 'string' || Buffer.isBuffer(http)
            ? await clients.postRaw('/v1/search', http)
            : await clients.post('/v1/search', http);
        outcomes.push([`http: ${name}`, outcome, entry.http, reason]);
      }
    }
    return outcomes;
  };
  for (const [name, { reason, status, message }, wantedStatus, wanted] of await sent()) {
    t.equal(reason, wanted, `${name}: ${message}`);
    t.equal(status, wantedStatus, name);
  }
  const pid = gateway.child.pid as number;
  const warmMb = rssMb(pid);
  for (let round = 0; round < ROUNDS; round++) await sent();
  const grownMb = rssMb(pid) - warmMb;
  t.ok(grownMb < GROWTH_MB_MAX, `grew by ${grownMb.toFixed(1)} MB`);
  const after = await clients.call('Search', question);
  t.same(after.body.hits, before.body.hits, 'and the same process answers as before');
  t.equal(gateway.child.exitCode, null);
});
