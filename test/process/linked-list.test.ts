import fc from 'fast-check';
import t from 'tap';
import { LinkedList, type Place } from '../../src/process/linked-list.js';

t.test('it holds what a set would hold, in the same order', async (t) => {
  const steps = fc.array(fc.oneof(fc.constant('add' as const), fc.record({ remove: fc.nat() })), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(steps, (given) => {
      const list = new LinkedList<number>();
      const model = new Set<number>();
      const places: Place<number>[] = [];
      for (const step of given) {
        if (step === 'add') {
          model.add(places.length);
          places.push(list.add(places.length));
        } else {
          const place = places[step.remove % Math.max(1, places.length)];
          if (place !== undefined && list.remove(place) !== model.delete(place.value)) return false;
        }
        const held = list.places().map(({ value }) => value);
        if (held.join() !== [...model].join()) return false;
        if (list.size !== model.size || list.first?.value !== held[0]) return false;
      }
      return true;
    }),
    { numRuns: 500 },
  );
  t.pass('in 500 runs');
});

t.test('what is removed points at nothing', async (t) => {
  const list = new LinkedList<string>();
  const [a, b, c] = ['a', 'b', 'c'].map((value) => list.add(value)) as [
    Place<string>,
    Place<string>,
    Place<string>,
  ];
  t.ok(list.remove(b));
  t.same([b.before, b.after], [null, null]);
  t.equal(a.after, c);
  t.notOk(list.remove(b), 'once');
});
