import { once } from 'node:events';
import t from 'tap';
import { until } from '../process/wait.js';
import { slowLink } from '../security/slow-link.js';
import { framed, Http2Client, MB, search } from '../security/unread-clients.js';
import { startGateway } from './harness.js';
import { LargeService } from './large-service.js';

const ARRIVAL_MS_MAX = 300;
/** Of a megabyte each, on their way for longer than a stream that was ended has to be closed. */
const DOCUMENTS = 24;
const LINK_BYTES_PER_S = 10 * MB;

t.test(
  'a call that is late is ended alone where its client still reads what stands before that',
  async (t) => {
    const gateway = await startGateway({
      service: new LargeService('x'.repeat(MB)),
      arrivalMsMax: ARRIVAL_MS_MAX,
    });
    t.teardown(() => gateway.close());
    const port = await slowLink(t, gateway.faces.addresses.grpc.port, LINK_BYTES_PER_S);
    const client = new Http2Client(`http://127.0.0.1:${port}`, 64 * MB);
    t.teardown(() => client.session.destroy());
    await once(client.session, 'connect');
    client.session.setLocalWindowSize(64 * MB);
    const half = framed('switchyard.v1.SearchRequest', search(1)).subarray(0, 10);
    const late = client.call(half, undefined, false);
    late.stream.resume();
    // Answered in the order of what was sent: it has begun before there is anything to read.
    await new Promise((resolve) => client.session.ping(resolve));
    const asked = client.call(framed('switchyard.v1.SearchRequest', search(DOCUMENTS)));
    let bytes = 0;
    asked.stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    await until('it is answered', () => asked.stream.closed);
    t.equal(asked.headers['grpc-status'], '0', 'whole');
    t.ok(bytes > DOCUMENTS * MB, `${bytes} bytes`);
    await until('the late one is told', () => late.headers['grpc-status'] !== undefined);
    t.match(late.headers['grpc-message'], /did not arrive in time/);
    t.notOk(client.session.destroyed);
  },
);
