import type { Http2Session } from 'node:http2';
import type { Server, Socket } from 'node:net';
import type { SwitchyardError } from '../../errors.js';
import type { ListenerName } from '../bind.js';
import { type Answer, ClientConnection, type HangUps, sentBytes } from './client-connection.js';
import type { UnreadAnswers } from './unread-answers.js';

type Ends = Pick<Socket, 'remoteAddress' | 'remotePort' | 'localAddress' | 'localPort'>;

/** The unread answers of one listener: finds the connection below TLS and HTTP/2, which alone knows what left. */
export class ListenerAnswers {
  readonly hangUps: HangUps;
  readonly #answers: UnreadAnswers;
  readonly #byEnds = new Map<string, ClientConnection>();
  readonly #known = new WeakMap<Http2Session | Socket, ClientConnection>();

  constructor(answers: UnreadAnswers, listener: ListenerName) {
    this.#answers = answers;
    this.hangUps = { listener, stalled: 0, memory: 0 };
  }

  /** Once for the server of the listener, before it listens. */
  apply(server: Server): void {
    server.on('connection', (socket: Socket) => {
      const ends = nameOf(socket);
      const connection = new ClientConnection(socket, this.hangUps);
      this.#byEnds.set(ends, connection);
      socket.once('close', () => {
        if (this.#byEnds.get(ends) === connection) this.#byEnds.delete(ends);
        this.#answers.forget(connection);
      });
    });
  }

  /** Null for what may be asked, else ANSWERS_UNREAD. `over`: where the request came. */
  refusal(over: Http2Session | Socket | undefined): SwitchyardError | null {
    const connection = this.#connectionOf(over);
    return connection === null ? null : this.#answers.refusal(connection);
  }

  /** Before an answer is written: null, or ANSWERS_UNREAD where it is not to be. */
  take(over: Http2Session | Socket | undefined, answer: Answer, bytes: number): SwitchyardError | null {
    const connection = this.#connectionOf(over);
    return connection === null ? null : this.#answers.take(connection, answer, bytes);
  }

  /** What the kernel took of all that was written, frames of HTTP/2 too. */
  sentBytes(over: Http2Session | Socket): number {
    const connection = this.#connectionOf(over);
    return connection === null ? 0 : sentBytes(connection.socket);
  }

  /** Null for a connection that is gone. */
  #connectionOf(over: Http2Session | Socket | undefined): ClientConnection | null {
    if (over === undefined) return null;
    const known = this.#known.get(over);
    if (known !== undefined) return known;
    const socket: Ends | undefined = 'socket' in over ? over.socket : over;
    const found = socket === undefined ? undefined : this.#byEnds.get(nameOf(socket));
    if (found !== undefined) this.#known.set(over, found);
    return found ?? null;
  }
}

/** Both ends: from one port a client can open as many connections as the listener has addresses. */
const nameOf = ({ remoteAddress, remotePort, localAddress, localPort }: Ends): string =>
  `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
