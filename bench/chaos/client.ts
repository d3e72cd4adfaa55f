import path from 'node:path';
import {
  connectivityState,
  credentials,
  loadPackageDefinition,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import protobuf from 'protobufjs';
import { REASONS, type Reason } from '../../src/errors.js';
import { packageRoot } from '../../src/package-root.js';
import type { SeenAnswer } from '../judge/checker.js';

const PROTOS = path.join(packageRoot(), 'proto');
const RECONNECT_MS = { first: 50, max: 250 };

export interface SearchRequest {
  readonly corpus: string;
  readonly text?: string;
  readonly vector?: { readonly f32le: Buffer };
  readonly model?: string;
  readonly corpus_version?: string;
  readonly affinity_key?: string;
  readonly top_k: number;
  readonly bypass_cache?: boolean;
}

export interface ChaosAnswer extends SeenAnswer {
  readonly served_by: {
    readonly build: string;
    readonly corpus_version: string;
    readonly fingerprint: string;
    readonly model: string;
  };
  readonly degraded: readonly string[];
}

/** What a client has at its deadline. `lost`: neither an answer nor an error that says that trying again helps. */
export type Outcome =
  | { readonly kind: 'answer'; readonly answer: ChaosAnswer }
  | { readonly kind: 'refused'; readonly reason: Reason }
  | { readonly kind: 'lost'; readonly why: string };

/** What the load asks. */
export interface SearchClient {
  /** Whether it has a connection to the gateway; where it has none it goes on trying. */
  readonly isConnected: boolean;
  search(request: SearchRequest, deadlineMs: number): Promise<Outcome>;
}

interface RawClient {
  getChannel(): { getConnectivityState(tryToConnect: boolean): connectivityState };
  Search(
    request: SearchRequest,
    metadata: Metadata,
    options: { readonly deadline: number },
    callback: (error: ServiceError | null, answer?: ChaosAnswer) => void,
  ): void;
  close(): void;
}

/** A client as a downstream service has one: generated from the public contract, with a deadline and without retries. */
export class ChaosClient implements SearchClient {
  readonly #client: RawClient;
  readonly #status: protobuf.Type;
  readonly #errorInfo: protobuf.Type;
  #closed = false;

  constructor(address: string) {
    const definition = loadSync('switchyard/v1/search.proto', {
      includeDirs: [PROTOS],
      keepCase: true,
      longs: Number,
      defaults: true,
    });
    const { switchyard } = loadPackageDefinition(definition) as unknown as {
      switchyard: {
        v1: { SearchService: new (address: string, channel: unknown, options: object) => RawClient };
      };
    };
    this.#client = new switchyard.v1.SearchService(address, credentials.createInsecure(), {
      'grpc.initial_reconnect_backoff_ms': RECONNECT_MS.first,
      'grpc.max_reconnect_backoff_ms': RECONNECT_MS.max,
      'grpc.enable_retries': 0,
      'grpc.use_local_subchannel_pool': 1,
    });
    const root = new protobuf.Root();
    root.resolvePath = (_origin, target) => path.join(PROTOS, target);
    root.loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto'], { keepCase: true });
    this.#status = root.lookupType('google.rpc.Status');
    this.#errorInfo = root.lookupType('google.rpc.ErrorInfo');
  }

  get isConnected(): boolean {
    return this.#client.getChannel().getConnectivityState(true) === connectivityState.READY;
  }

  search(request: SearchRequest, deadlineMs: number): Promise<Outcome> {
    // A clock that jumps may have a request due after the end.
    if (this.#closed) return Promise.resolve({ kind: 'lost', why: 'the client is closed' });
    return new Promise((resolve) => {
      const options = { deadline: Date.now() + deadlineMs };
      this.#client.Search(request, new Metadata(), options, (error, answer) => {
        if (answer !== undefined && error === null) resolve({ kind: 'answer', answer });
        else resolve(this.#refused(error));
      });
    });
  }

  close(): void {
    this.#closed = true;
    this.#client.close();
  }

  #refused(error: ServiceError | null): Outcome {
    const bytes = error?.metadata.get('grpc-status-details-bin')[0];
    if (!Buffer.isBuffer(bytes)) return { kind: 'lost', why: error?.details ?? 'no answer' };
    const { details } = this.#status.decode(bytes) as unknown as {
      details: { type_url: string; value: Uint8Array }[];
    };
    const info = details.find(({ type_url }) => type_url.endsWith('google.rpc.ErrorInfo'));
    const { reason } = this.#errorInfo.decode(info?.value ?? Buffer.alloc(0)) as unknown as {
      reason: Reason;
    };
    const known = REASONS[reason];
    return known !== undefined && known.retry !== 'never'
      ? { kind: 'refused', reason }
      : { kind: 'lost', why: `${reason}, which is not to be tried again` };
  }
}
