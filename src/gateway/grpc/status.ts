import { Metadata, type StatusObject } from '@grpc/grpc-js';
import type protobuf from 'protobufjs';
import { GRPC_CODES, REASONS, type SwitchyardError } from '../../errors.js';
import { retryDelayMs } from '../failure.js';
import { wellFormed } from '../limits.js';
import { REQUEST_ID_HEADER } from '../request-id.js';

export const ERROR_DOMAIN = 'switchyard';
const DETAILS_HEADER = 'grpc-status-details-bin';
/** Status and details travel in HTTP/2 trailers, which clients bound: usually 8 to 64 kB for all of them. */
const MESSAGE_CHARS_MAX = 1024;
const DETAIL_CHARS_MAX = 512;
const DETAILS_MAX = 8;

interface EncodedError {
  readonly error: SwitchyardError;
  readonly code: number;
  readonly message: string;
  readonly status: Buffer;
}

/** The one mapping of an error to its gRPC status: code by the catalogue, google.rpc.ErrorInfo, and RetryInfo where it may pass. */
export class StatusEncoder {
  readonly #status: protobuf.Type;
  readonly #errorInfo: protobuf.Type;
  readonly #retryInfo: protobuf.Type;
  #last: EncodedError | null = null;

  constructor(root: protobuf.Root) {
    this.#status = root.lookupType('google.rpc.Status');
    this.#errorInfo = root.lookupType('google.rpc.ErrorInfo');
    this.#retryInfo = root.lookupType('google.rpc.RetryInfo');
  }

  encode(error: SwitchyardError, requestId: string): StatusObject {
    // One refusal goes to many under overload.
    const known = this.#last?.error === error ? this.#last : this.#encode(error);
    this.#last = known;
    const metadata = new Metadata();
    metadata.set(DETAILS_HEADER, known.status);
    metadata.set(REQUEST_ID_HEADER, requestId);
    return { code: known.code, details: known.message, metadata };
  }

  #encode(error: SwitchyardError): EncodedError {
    const code = GRPC_CODES[REASONS[error.reason].grpc];
    const message = bounded(error.message, MESSAGE_CHARS_MAX);
    const details = [
      any('google.rpc.ErrorInfo', this.#errorInfo, {
        reason: error.reason,
        domain: ERROR_DOMAIN,
        metadata: boundedDetails(error.details),
      }),
    ];
    const delayMs = retryDelayMs(error);
    if (delayMs !== null) {
      const retry_delay = { seconds: Math.floor(delayMs / 1000), nanos: (delayMs % 1000) * 1_000_000 };
      details.push(any('google.rpc.RetryInfo', this.#retryInfo, { retry_delay }));
    }
    const status = Buffer.from(this.#status.encode({ code, message, details }).finish());
    return { error, code, message, status };
  }
}

const any = (name: string, type: protobuf.Type, value: Record<string, unknown>) => ({
  type_url: `type.googleapis.com/${name}`,
  value: type.encode(value).finish(),
});

/** grpc-js percent-encodes the message and throws on half a surrogate pair, so cutting must not leave one. */
function bounded(text: string, charsMax: number): string {
  return wellFormed(text.length > charsMax ? `${text.slice(0, charsMax)}…` : text);
}

function boundedDetails(details: Readonly<Record<string, string>>): Record<string, string> {
  const entries = Object.entries(details).slice(0, DETAILS_MAX);
  return Object.fromEntries(entries.map(([key, value]) => [key, bounded(value, DETAIL_CHARS_MAX)]));
}
