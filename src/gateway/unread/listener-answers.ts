import type { Http2Session } from 'node:http2';
import type { Server, Socket } from 'node:net';
import type { SwitchyardError } from '../../errors.js';
import type { ListenerName } from '../bind.js';
import { type Answer, ClientConnection, type HangUps } from './client-connection.js';
import type { UnreadAnswers } from './unread-answers.js';

type Peer = Pick<Socket, 'remoteAddress' | 'remotePort'>;

/** The unread answers of one listener: finds the connection below TLS and HTTP/2, which alone knows what left. */
export class ListenerAnswers {
  readonly hangUps: HangUps;
  readonly #answers: UnreadAnswers;
  readonly #byPeer = new Map<string, ClientConnection>();
  readonly #known = new WeakMap<Http2Session | Socket, ClientConnection>();

  constructor(answers: UnreadAnswers, listener: ListenerName) {
    this.#answers = answers;
    this.hangUps = { listener, stalled: 0, memory: 0 };
  }

  /** Once for the server of the listener, before it listens. */
  apply(server: Server): void {
    server.on('connection', (socket: Socket) => {
      const peer = nameOf(socket);
      const connection = new ClientConnection(socket, this.hangUps);
      this.#byPeer.set(peer, connection);
      socket.once('close', () => {
        if (this.#byPeer.get(peer) === connection) this.#byPeer.delete(peer);
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

  /** Null for a connection that is gone. */
  #connectionOf(over: Http2Session | Socket | undefined): ClientConnection | null {
    if (over === undefined) return null;
    const known = this.#known.get(over);
    if (known !== undefined) return known;
    const peer: Peer | undefined = 'socket' in over ? over.socket : over;
    const found = peer === undefined ? undefined : this.#byPeer.get(nameOf(peer));
    if (found !== undefined) this.#known.set(over, found);
    return found ?? null;
  }
}

const nameOf = ({ remoteAddress, remotePort }: Peer): string => `${remoteAddress} ${remotePort}`;
