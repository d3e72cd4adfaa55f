import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { REASONS, type Reason } from '../../src/errors.js';
import { packageRoot } from '../../src/package-root.js';

interface Row {
  readonly reason: string;
  readonly grpc: string;
  readonly http: number;
  readonly retry: string;
}

const text = readFileSync(path.join(packageRoot(), 'docs', 'errors.md'), 'utf8');
const rows: Row[] = [...text.matchAll(/^\| `(\w+)` \| (\w+) \| (\d+) \| (\w+) \| .+ \|$/gm)].map(
  ([, reason, grpc, http, retry]) => ({
    reason: reason as string,
    grpc: grpc as string,
    http: Number(http),
    retry: retry as string,
  }),
);

t.test('every reason of the catalogue is in docs/errors.md as it is', async (t) => {
  for (const [reason, { grpc, http, retry }] of Object.entries(REASONS)) {
    t.same(
      rows.filter((row) => row.reason === reason),
      [{ reason, grpc, http, retry }],
      reason,
    );
  }
});

t.test('docs/errors.md lists no reason that does not exist', async (t) => {
  t.same(
    rows.map(({ reason }) => reason).filter((reason) => !Object.hasOwn(REASONS, reason)),
    [],
  );
  const mentioned = [...text.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map(([, word]) => word as string);
  const codes = new Set<string>(Object.values(REASONS).map(({ grpc }) => grpc));
  t.same(
    mentioned.filter((word) => !Object.hasOwn(REASONS, word as Reason) && !codes.has(word)),
    [],
    'and mentions none either',
  );
});
