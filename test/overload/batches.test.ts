import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { Overload } from '../../src/gateway/overload/overload.js';
import { systemTimers } from '../../src/process/timers.js';
import { CORPUS } from '../gateway/brute-force-service.js';
import { OVERLOAD, startGateway } from '../gateway/harness.js';

/** Remembers how long each request is said to have waited. */
class WatchedOverload extends Overload {
  readonly waits: (number | null)[] = [];

  override leave(...given: Parameters<Overload['leave']>): void {
    this.waits.push(given[3]);
    super.leave(...given);
  }
}

t.test('a batch whose searches were all dropped tells the limit that they waited in vain', async (t) => {
  const overload = new WatchedOverload(OVERLOAD, systemTimers);
  const gateway = await startGateway({ overload });
  t.teardown(() => gateway.close());
  const search = { corpus: CORPUS, text: 'a fish' };
  const batch = { requests: [search, search] };
  gateway.service.failure = new SwitchyardError('OVERLOADED', 'waited too long');
  await gateway.post('/v1/search:batch', batch);
  gateway.service.failure = new SwitchyardError('UNKNOWN_CORPUS', 'no queue has to do with that');
  await gateway.post('/v1/search:batch', batch);
  gateway.service.failure = null;
  await gateway.post('/v1/search:batch', batch);
  t.same(overload.waits, [Number.POSITIVE_INFINITY, null, 0.0015]);
});
