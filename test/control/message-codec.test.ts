import fc from 'fast-check';
import t from 'tap';
import { REASONS, SwitchyardError } from '../../src/errors.js';
import { MessageCodec } from '../../src/gateway/grpc/message-codec.js';
import { loadAdminProtos } from '../../src/gateway/grpc/protos.js';

const { root } = loadAdminProtos();
const codec = (name: string): MessageCodec => new MessageCodec(root, `switchyard.v1.${name}`);

t.test('words, times and absent fields come back as they went', async (t) => {
  const route = {
    corpus: 'docs',
    expected_revision: 0,
    targets: [
      {
        version: 'v1',
        build: '',
        model: '',
        fingerprint: '',
        role: 'shadow',
        weight: 0,
        tier: 'dram',
        mirror_bps: 5,
      },
    ],
    reason: 'why',
    actor: '',
    force: true,
  };
  t.same(codec('UpdateRouteRequest').decode(codec('UpdateRouteRequest').encode(route)), route);
  const { expected_revision: _absent, ...unstated } = route;
  t.same(codec('UpdateRouteRequest').decode(codec('UpdateRouteRequest').encode(unstated)), unstated);
  const consumer = {
    ...Object.fromEntries(
      ['corpus', 'version', 'service_name', 'team_owner', 'reason', 'actor'].map((name) => [name, 'x']),
    ),
    migration_deadline: '2027-01-31T10:20:30.456Z',
    uses_score_thresholds: true,
  };
  t.same(codec('AddConsumerRequest').decode(codec('AddConsumerRequest').encode(consumer)), consumer);
});

t.test('an enum without a meaning is refused or absent, never guessed', async (t) => {
  const target = (role: number) => Buffer.from([0x1a, 0x02, 0x28, role]);
  t.match(codec('UpdateRouteRequest').decode(target(9)), { reason: 'INVALID_ARGUMENT' });
  const decoded = codec('UpdateRouteRequest').decode(target(0)) as { targets: Record<string, unknown>[] };
  t.notOk('role' in (decoded.targets[0] ?? {}));
});

t.test('decoding any bytes yields a value or a catalogued error, nothing else', async () => {
  const names = ['UpdateRouteRequest', 'AddConsumerRequest', 'RollbackRouteRequest', 'Gateway'];
  await fc.assert(
    fc.property(fc.constantFrom(...names), fc.uint8Array({ maxLength: 60 }), (name, bytes) => {
      const value = codec(name).decode(Buffer.from(bytes));
      return value instanceof SwitchyardError
        ? Object.hasOwn(REASONS, value.reason)
        : typeof value === 'object';
    }),
    { numRuns: 3_000, seed: 11 },
  );
});
