import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';

interface Teardown {
  teardown(cleanUp: () => Promise<void>): void;
}

export interface Answered {
  readonly path: string;
  readonly status: number;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** One thing that a server does wrong with the next request of a path, or instead of its file. */
export type Fault =
  | { readonly kind: 'cut'; readonly afterBytes: number }
  | { readonly kind: 'status'; readonly status: number }
  | { readonly kind: 'redirect'; readonly to: string; readonly headers?: Readonly<Record<string, string>> }
  | { readonly kind: 'before'; readonly act: () => void };

/** A file server as Hugging Face's stores are: strong ETags, Range, If-Range, If-None-Match; faults on demand. */
export class FileServer {
  readonly files = new Map<string, Buffer>();
  /** Faults of a path, used up one per request. */
  readonly faults = new Map<string, Fault[]>();
  readonly answered: Answered[] = [];
  /** ETag of a content. Default: not a SHA-256, so that nothing can be checked by it. */
  etagOf: (content: Buffer) => string | undefined = (content) => `"${sha256(content).slice(0, 20)}"`;
  /** Says how long the body is. */
  hasLength = true;
  headers: Readonly<Record<string, string>> = {};
  bytesServed = 0;
  ignoresIfRange = false;
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  static async start(t: Teardown): Promise<FileServer> {
    const server = new FileServer();
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => server.stop());
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  requestsOf(path: string): Answered[] {
    return this.answered.filter((answer) => answer.path === path);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    if (!this.#server.listening) return;
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '').slice(1);
    const fault = this.faults.get(path)?.shift();
    if (fault?.kind === 'before') fault.act();
    const reply = this.#reply(path, request, fault);
    const { range, authorization } = request.headers;
    this.answered.push({ path, status: reply.status, range, authorization });
    response.writeHead(reply.status, { ...this.headers, ...reply.headers });
    this.bytesServed += reply.body?.length ?? 0;
    if (fault?.kind === 'cut') response.write(reply.body, () => response.destroy());
    else response.end(reply.body);
  }

  #reply(path: string, request: IncomingMessage, fault: Fault | undefined): Reply {
    if (fault?.kind === 'status') return { status: fault.status };
    if (fault?.kind === 'redirect') return { status: 302, headers: { ...fault.headers, location: fault.to } };
    const content = this.files.get(path);
    if (!content) return { status: 404 };

    const etag = this.etagOf(content);
    const { range, 'if-range': ifRange, 'if-none-match': ifNoneMatch } = request.headers;
    if (etag !== undefined && ifNoneMatch === etag) return { status: 304, headers: { etag } };
    const [, from] = /^bytes=(\d+)-$/.exec(range ?? '') ?? [];
    const isSame = this.ignoresIfRange || ifRange === undefined || ifRange === etag;
    const start = from !== undefined && isSame ? Number(from) : 0;
    if (start >= content.length && start > 0) {
      return { status: 416, headers: { 'content-range': `bytes */${content.length}` } };
    }
    const rest = content.subarray(start);
    return {
      status: start > 0 ? 206 : 200,
      headers: {
        ...(etag === undefined ? {} : { etag }),
        ...(this.hasLength ? { 'content-length': String(rest.length) } : {}),
        ...(start > 0 ? { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` } : {}),
      },
      body: fault?.kind === 'cut' ? rest.subarray(0, fault.afterBytes) : rest,
    };
  }
}

interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

/** A forward proxy that opens tunnels (CONNECT) and remembers where to. */
export async function startProxy(t: Teardown): Promise<{
  readonly port: number;
  readonly tunnels: string[];
  readonly credentials: (string | undefined)[];
}> {
  const tunnels: string[] = [];
  const credentials: (string | undefined)[] = [];
  const server = createServer((_request, response) => response.writeHead(501).end());
  server.on('connect', (request, client, head) => {
    tunnels.push(request.url ?? '');
    credentials.push(request.headers['proxy-authorization']);
    const [host, port] = (request.url ?? '').split(':');
    const upstream = connect(Number(port), host, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      upstream.write(head);
      upstream.pipe(client).pipe(upstream);
    });
    const end = (): void => {
      upstream.destroy();
      client.destroy();
    };
    upstream.on('error', end).on('close', end);
    client.on('error', end).on('close', end);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { port: (server.address() as AddressInfo).port, tunnels, credentials };
}

export const sha256 = (content: Buffer): string => createHash('sha256').update(content).digest('hex');
