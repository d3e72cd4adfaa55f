import { connect, type Socket } from 'node:net';
import { type Fault, HELD_UP, SHED, UNNOTICED } from '../fault.js';
import { refusedOverHttp, stalledConnections } from '../signs.js';

const STALLED = 200;
const ROUNDS = 10;
const MALFORMED_AT_ONCE = 50;
const BURST = 1_000;
const stalled: Socket[] = [];
const nothing = (): void => undefined;

/** Faults of clients. */
export const TRAFFIC_FAULTS: readonly Fault[] = [
  {
    name: 'two hundred clients that stall in the middle of a request',
    inject: ({ address }) => {
      const url = new URL(address.http);
      for (let at = 0; at < STALLED; at++) {
        const [host, port] = at % 2 === 0 ? [url.hostname, Number(url.port)] : split(address.grpc);
        const socket = connect(port, host);
        socket.on('error', nothing);
        socket.write(
          'POST /v1/search HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{',
        );
        stalled.push(socket);
      }
    },
    met: stalledConnections,
    heal: () => {
      for (const socket of stalled.splice(0)) socket.destroy();
    },
    expected: UNNOTICED,
  },
  {
    name: 'a flood of malformed requests',
    inject: async ({ address }) => {
      const send = (): Promise<unknown> =>
        fetch(`${address.http}/v1/search`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '{"corpus": "chaos", "vector": [1e999]}',
        }).then((response) => response.arrayBuffer(), nothing);
      for (let round = 0; round < ROUNDS; round++)
        await Promise.all(Array.from({ length: MALFORMED_AT_ONCE }, send));
    },
    met: refusedOverHttp,
    metBy: (ROUNDS * MALFORMED_AT_ONCE) / 2,
    expected: HELD_UP,
  },
  {
    name: 'a burst of a thousand requests',
    inject: (_rig, load) => {
      for (let at = 0; at < BURST; at++) load.sendOne();
    },
    expected: SHED,
  },
];

function split(address: string): [string, number] {
  const colon = address.lastIndexOf(':');
  return [address.slice(0, colon), Number(address.slice(colon + 1))];
}
