import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Responses that wait for one before them on their connection, since their requests came together. Node tells only the
 * one that is being written that the connection is over; the others would keep their places in quotas for good.
 */
export class WaitingResponses {
  readonly #waiting = new WeakMap<Socket, Set<ServerResponse>>();

  /** Called once for every response, before anything is done for it. */
  watch(socket: Socket, response: ServerResponse): void {
    if (response.socket !== null) return;
    let waiting = this.#waiting.get(socket);
    if (waiting === undefined) {
      const begun = new Set<ServerResponse>();
      this.#waiting.set(socket, begun);
      socket.once('close', () => {
        for (const one of [...begun]) if (one.socket === null) one.emit('close');
      });
      waiting = begun;
    }
    const own = waiting;
    own.add(response);
    response.once('close', () => own.delete(response));
  }
}
