import { constants, type ServerHttp2Stream } from 'node:http2';
import type { Server, ServerUnaryCall } from '@grpc/grpc-js';
import type { SwitchyardError } from '../../errors.js';
import { operationOf, type Requests } from '../requests.js';
import type { ListenerAnswers } from '../unread/listener-answers.js';
import { REFLECTION } from './arrivals.js';
import { type AnswerHeaders, beforeCalls, refuseStream } from './stream-handler.js';

/** Of requests that come over one stream together, or while an answer of it is unread: each makes an answer. */
const UNANSWERED_BYTES_MAX = 4_096;
/** Of one listener. They are for people and their tools, which have one at a time. */
const DIALOGUES_MAX = 64;

export interface UnreadCallsOptions {
  readonly answers: ListenerAnswers;
  readonly requests: Requests;
  /** What a client is told: headers of an answer without a message. */
  readonly headersOf: (error: SwitchyardError) => AnswerHeaders;
}

/**
 * Refuses calls of a connection whose client does not read its answers, before anything is done for them. Handlers of
 * the three operations count their answers themselves (`takeAnswer`), and can say why there is none; every other
 * method's are counted as they are written, and a stream that has too much unread is reset with ENHANCE_YOUR_CALM,
 * which clients know as RESOURCE_EXHAUSTED. False: as `beforeCalls`.
 */
export function limitUnread(server: Server, { answers, requests, headersOf }: UnreadCallsOptions): boolean {
  const dialogues = new Dialogues();
  return beforeCalls(server, (accept) => (interceptors, stream, headers, flags, rawHeaders) => {
    const path = headers[':path'] ?? '';
    const operation = operationOf(path);
    const refused = answers.refusal(stream.session);
    if (refused === null) {
      const isDialogue = operation === undefined && path.startsWith(REFLECTION);
      if (operation === undefined) countWrites(stream, answers, isDialogue ? dialogues : null);
      accept(interceptors, stream, headers, flags, rawHeaders);
      if (isDialogue) limitUnanswered(stream);
      return;
    }
    if (operation !== undefined) requests.refused('grpc', operation, refused.reason);
    refuseStream(stream, headersOf(refused));
  });
}

interface Layer {
  readonly nextCall?: Layer;
  readonly stream?: ServerHttp2Stream;
}

type Unary<Request, Response> = ServerUnaryCall<Request, Response>;

/** Before an answer is made of what was found. Errors: ANSWERS_UNREAD where it would go nowhere. */
export function checkRead<Request, Response>(call: Unary<Request, Response>, answers: ListenerAnswers): void {
  const refused = answers.refusal(streamOf(call)?.session);
  if (refused !== null) throw refused;
}

/** Before an answer is written. Errors: ANSWERS_UNREAD where it is not to be. */
export function takeAnswer<Request, Response>(
  call: Unary<Request, Response>,
  answers: ListenerAnswers,
  bytes: number,
): void {
  const stream = streamOf(call);
  if (stream === undefined) return;
  const refused = answers.take(stream.session, stream, bytes);
  if (refused !== null) throw refused;
}

/** Where grpc-js keeps it, below its interceptors: the package's version is pinned, and a test notices when it is elsewhere. */
function streamOf<Request, Response>(call: Unary<Request, Response>): ServerHttp2Stream | undefined {
  let layer = (call as unknown as { call?: Layer }).call;
  while (layer?.nextCall !== undefined) layer = layer.nextCall;
  return layer?.stream;
}

/** Streams over which more than one request may come. */
class Dialogues {
  #open = 0;

  /** False where there are too many. Called with its first answer, so that strangers take no place from anybody. */
  enter(stream: ServerHttp2Stream): boolean {
    if (stream.destroyed) return true;
    if (this.#open >= DIALOGUES_MAX) return false;
    this.#open++;
    stream.once('close', () => this.#open--);
    return true;
  }
}

/** Calls that are few: each may have functions of its own. */
function countWrites(stream: ServerHttp2Stream, answers: ListenerAnswers, dialogues: Dialogues | null): void {
  let isIn = dialogues === null;
  const write = stream.write.bind(stream) as (...given: readonly unknown[]) => boolean;
  const counted = (...given: readonly unknown[]): boolean => {
    const [chunk] = given;
    const bytes = chunk instanceof Uint8Array ? chunk.length : 0;
    isIn ||= dialogues?.enter(stream) ?? true;
    if (isIn && answers.take(stream.session, stream, bytes) === null) return write(...given);
    stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    return false;
  };
  stream.write = counted as typeof stream.write;
}

/**
 * Whoever asks on and on over one stream and does not read is cut off: grpc-js keeps what is to be written after what
 * does not leave, out of sight. Five bytes are a request.
 */
function limitUnanswered(stream: ServerHttp2Stream): void {
  let unanswered = 0;
  stream.on('data', (chunk: Buffer) => {
    // It was refused: a reset would take the place of why.
    if (stream.writableEnded) return;
    unanswered = (stream.writableLength === 0 ? 0 : unanswered) + chunk.length;
    if (unanswered > UNANSWERED_BYTES_MAX) stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  });
}
