import { constants, type Http2Session, type ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import { SwitchyardError } from '../../errors.js';
import type { ArrivalFace, Arriving, ArrivingRequests } from '../arriving/arriving-requests.js';
import type { ListenerName } from '../bind.js';
import { operationOf, type Requests } from '../requests.js';
import type { ListenerAnswers } from '../unread/listener-answers.js';
import { MessageHeads } from './message-heads.js';
import { type AnswerHeaders, beforeCalls } from './stream-handler.js';

/** Services that are not ours, whose messages are short whatever the limit of requests is. */
const FOREIGN = '/grpc.';
/** A dialogue, whose client has not said its last word for as long as it is open. */
export const REFLECTION = '/grpc.reflection.';
/** They name a service or a symbol, and health checks need no key. */
const FOREIGN_BYTES_MAX = 4_096;
/** A stream that was ended is closed by then, unless its client reads slowly, or nothing at all. */
const CLOSED_LOOK_MS = 1_000;
/** So often in a row a client may be seen to read nothing: the kernel takes what it is given in steps of a megabyte. */
const IDLE_LOOKS_MAX = 5;
/** One that reads has so many looks. What the stream holds is counted no longer, so where memory is short it has few. */
const CLOSED_LOOKS_MAX = 30;
const CLOSED_LOOKS_MAX_FOR_ROOM = 5;

export interface ArrivalOptions {
  readonly listener: ListenerName;
  readonly arriving: ArrivingRequests;
  readonly requests: Requests;
  readonly answers: ListenerAnswers;
  /** What a client is told: headers of an answer without a message. */
  readonly headersOf: (error: SwitchyardError) => AnswerHeaders;
}

/**
 * Bounds the requests that have not arrived whole, and for how long: HTTP servers have such a limit and grpc-js has none,
 * so half a message would hold its bytes for as long as the connection lives. False: as `beforeCalls`.
 */
export function limitArrival(server: Server, options: ArrivalOptions): boolean {
  const { arriving } = options;
  const face = new GrpcArrivals(options);
  return beforeCalls(server, (accept) => (interceptors, stream, headers, flags, rawHeaders) => {
    const path = headers[':path'] ?? '';
    const isDialogue = path.startsWith(REFLECTION);
    arriving.add(stream, face, path, isDialogue);
    if (path.startsWith(FOREIGN)) face.limitMessages(stream, path, isDialogue);
    accept(interceptors, stream, headers, flags, rawHeaders);
  });
}

class GrpcArrivals implements ArrivalFace {
  readonly listener: ListenerName;
  readonly isTimed = true;
  readonly #options: ArrivalOptions;

  constructor(options: ArrivalOptions) {
    this.#options = options;
    this.listener = options.listener;
  }

  /** Streams that are few: each may have a function of its own. */
  limitMessages(stream: ServerHttp2Stream, path: string, isDialogue: boolean): void {
    const { arriving } = this.#options;
    const heads = new MessageHeads();
    stream.on('data', (piece: Buffer) => {
      // It was refused: what still comes is forgotten.
      if (stream.writableEnded) return;
      const { isBetween: wasBetween, ended } = heads;
      const bytes = heads.read(piece);
      if (bytes > FOREIGN_BYTES_MAX) this.#end(stream, path, tooLarge(bytes, FOREIGN_BYTES_MAX));
      else if (isDialogue && (wasBetween || heads.ended > ended))
        arriving.turn(stream, heads.isBetween ? null : piece);
    });
  }

  end({ inbound, knownAs }: Arriving, error: SwitchyardError): void {
    this.#end(inbound as ServerHttp2Stream, knownAs, error);
  }

  #end(stream: ServerHttp2Stream, path: string, error: SwitchyardError): void {
    const { requests, headersOf } = this.#options;
    const { session } = stream;
    const isOpen = !stream.destroyed && !stream.closed;
    if (isOpen && !stream.headersSent) {
      const operation = operationOf(path);
      if (operation !== undefined) requests.refused('grpc', operation, error.reason);
      stream.respond({ ...headersOf(error) } as never, { endStream: true });
      // Not at once: within the event of its data Node 22 sends the reset in place of the answer.
      setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
    } else {
      // A dialogue is cut off in the middle; its clients know this as RESOURCE_EXHAUSTED. Who was answered before its
      // message came, as a stranger is, only leaves the stream open.
      const isCutOff = isOpen && !stream.writableEnded && path.startsWith(REFLECTION);
      stream.close(isCutOff ? constants.NGHTTP2_ENHANCE_YOUR_CALM : constants.NGHTTP2_NO_ERROR);
    }
    const looksMax = error.reason === 'QUEUE_FULL' ? CLOSED_LOOKS_MAX_FOR_ROOM : CLOSED_LOOKS_MAX;
    if (session !== undefined) this.#seeClosed(stream, session, looksMax);
  }

  /** What the client is told stands behind what it has not read yet. */
  #seeClosed(stream: ServerHttp2Stream, session: Http2Session, looksMax: number): void {
    const { answers } = this.#options;
    let [looks, idleLooks, sentBytes] = [0, 0, answers.sentBytes(session)];
    const timer = setInterval(() => {
      const sent = answers.sentBytes(session);
      idleLooks = sent > sentBytes ? 0 : idleLooks + 1;
      sentBytes = sent;
      const isOver = ++looks >= looksMax || idleLooks >= IDLE_LOOKS_MAX;
      if (stream.destroyed || session.destroyed || isOver) clearInterval(timer);
      if (!stream.destroyed && isOver) session.destroy();
    }, CLOSED_LOOK_MS);
    timer.unref();
  }
}

const tooLarge = (bytes: number, max: number): SwitchyardError =>
  new SwitchyardError('REQUEST_TOO_LARGE', `the message has ${bytes} bytes, must be <= ${max}`, {
    details: { max: String(max) },
  });
