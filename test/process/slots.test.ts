import fc from 'fast-check';
import t from 'tap';
import { Slots } from '../../src/process/slots.js';

t.test('it answers as a map whose keys it gives itself', async (t) => {
  const steps = fc.array(
    fc.oneof(
      { arbitrary: fc.record({ do: fc.constant('add' as const), value: fc.string() }), weight: 5 },
      { arbitrary: fc.record({ do: fc.constant('take' as const), at: fc.nat() }), weight: 5 },
      { arbitrary: fc.record({ do: fc.constant('take all' as const) }), weight: 1 },
    ),
    { maxLength: 200 },
  );
  fc.assert(
    fc.property(steps, (given) => {
      const slots = new Slots<string>();
      const model = new Map<number, string>();
      const gone = new Set<number>();
      for (const step of given) {
        if (step.do === 'add') {
          const id = slots.add(step.value);
          if (model.has(id) || gone.has(id)) return false;
          model.set(id, step.value);
        } else if (step.do === 'take') {
          const ids = [...model.keys(), ...gone, 1];
          const id = ids[step.at % ids.length] as number;
          if (slots.get(id) !== model.get(id)) return false;
          if (slots.take(id) !== model.get(id)) return false;
          if (model.delete(id)) gone.add(id);
        } else {
          const all = slots.takeAll();
          if (all.sort().join() !== [...model.values()].sort().join()) return false;
          for (const id of model.keys()) gone.add(id);
          model.clear();
        }
        if (slots.size !== model.size) return false;
        for (const [id, value] of slots.entries()) if (model.get(id) !== value) return false;
      }
      return [...slots].sort().join() === [...model.values()].sort().join();
    }),
    { numRuns: 500 },
  );
  t.pass('in 500 runs');
});

t.test('an id has 32 bits and comes again only after 4 095 others of its slot', async (t) => {
  const slots = new Slots<number>();
  const first = slots.add(0);
  slots.take(first);
  const seen = new Set([first]);
  for (let use = 1; use < 4_096; use++) {
    const id = slots.add(use);
    t.ok(id >= 0 && id < 2 ** 32 && !seen.has(id));
    seen.add(id);
    slots.take(id);
  }
  t.equal(slots.add(1), first);
});
