import t from 'tap';
import { createQueryIds } from '../../src/router/query-id.js';

const VERSION_7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

t.test(
  'query ids are unique, rise, and carry the time, also when the clock stands still or goes back',
  async (t) => {
    const times = [1_795_000_000_000, 1_795_000_000_000, 1_794_999_999_000, 1_795_000_000_001];
    let at = 0;
    const nextId = createQueryIds(() => times[Math.floor(at++ / 5000)] ?? 1_795_000_001_000);
    const ids = Array.from({ length: 22_000 }, nextId);
    t.equal(new Set(ids).size, ids.length);
    t.ok(ids.every((id) => VERSION_7.test(id)));
    t.same([...ids].sort(), ids, 'in the order of their making');
    t.equal(Number.parseInt((ids[20_000] as string).replaceAll('-', '').slice(0, 12), 16), 1_795_000_001_000);
  },
);

t.test('two processes make different ids in the same millisecond', async (t) => {
  const [one, other] = [createQueryIds(() => 5), createQueryIds(() => 5)];
  const ids = Array.from({ length: 1000 }, () => [one(), other()]).flat();
  t.equal(new Set(ids).size, 2000);
});
