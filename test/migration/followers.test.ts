import t from 'tap';
import { Followers } from '../../src/lifecycle/migration/followers.js';
import type { Digest } from '../../src/vocabulary.js';

const NEW = 'b'.repeat(64) as Digest;
const RETURN = {
  corpus: 'docs',
  routeRevision: 9,
  served: NEW,
  beganMs: 1_000_000,
  commandMs: 2_000_000,
  aliveMsMax: 15_000,
};
/** `heardMs`: after the command. */
const replica = (gatewayId: string, revision: number, heardMs: number, more: object = {}) => ({
  gatewayId,
  appliedRevisions: { docs: revision },
  readyTargets: [NEW],
  heartbeatAt: new Date(RETURN.commandMs + heardMs),
  alive: true,
  ...more,
});
const laggingOf = (
  followers: Followers,
  ...replicas: readonly ReturnType<typeof replica>[]
): readonly string[] => followers.look(replicas).lagging.map(({ gatewayId }) => gatewayId);

t.test('a replica that is not heard of any more did not follow, for all that is known', async (t) => {
  const dead = { alive: false };
  const followers = new Followers(RETURN);
  t.same(
    laggingOf(
      followers,
      replica('follows', 9, 400),
      replica('cut off at the command', 8, -2_000, { ...dead, readyTargets: [] }),
      replica('cut off before it, with the new version', 8, -600_000, dead),
      replica('gone before it, without', 8, -600_000, { ...dead, readyTargets: [] }),
      replica('of before the migration', 3, -1_500_000, dead),
      replica('has followed, and is gone', 9, 300, dead),
    ),
    ['cut off at the command', 'cut off before it, with the new version'],
  );
  t.same(
    laggingOf(
      new Followers({ ...RETURN, served: null }),
      replica('of a version that never served', 8, -600_000, dead),
      replica('alive', 8, 100),
    ),
    ['alive'],
  );
});

t.test('a return took until the last one followed, whatever is heard of the others after that', async (t) => {
  const followers = new Followers(RETURN);
  t.match(followers.look([replica('one', 9, 200), replica('two', 8, 150)]), { total: 2, tookMs: null });
  t.match(followers.look([replica('one', 9, 900), replica('two', 9, 600)]), { lagging: [], tookMs: 600 });
  t.match(followers.look([replica('one', 9, 5_000), replica('two', 9, 4_000)]), { tookMs: 600 });
  t.match(new Followers(RETURN).look([]), { total: 0, tookMs: null });
});
