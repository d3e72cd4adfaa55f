import t from 'tap';
import { searchBody } from '../../bench/rig/search-bodies.js';
import { SwitchyardError } from '../../src/errors.js';
import { decodeSearch } from '../../src/gateway/grpc/convert.js';
import { seededRandom } from '../router/small-engines.js';

const random = seededRandom(5);
const vector = Float32Array.from({ length: 384 }, () => random() - 0.5);
const body = searchBody({ corpus: 'docs', query: { vector, model: 'minilm@1' }, topK: 10 });

t.test('f32le is looked at where it came in, and copied only where it is not aligned', (t) => {
  const memory = new ArrayBuffer(body.length + 3);
  let views = 0;
  for (let offset = 0; offset < 4; offset++) {
    const message = Buffer.from(memory, offset, body.length);
    message.set(body);
    const input = decodeSearch(message);
    if (input instanceof SwitchyardError) throw input;
    t.same(input.vector, vector, `at byte ${offset}`);
    if (input.vector?.buffer === memory) views++;
    else t.equal(input.vector?.byteLength, input.vector?.buffer.byteLength, 'a copy holds nothing else');
  }
  t.equal(views, 1, 'of four neighbouring places one is aligned');
  t.end();
});
