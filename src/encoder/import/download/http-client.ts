import { isIPv4 } from 'node:net';
import type { Readable } from 'node:stream';
import { Agent, type Dispatcher, ProxyAgent, request } from 'undici';
import { SwitchyardError } from '../../../errors.js';
import { proxyFor } from './proxy.js';

const REDIRECTS_MAX = 5;
const CONNECT_TIMEOUT_MS = 10_000;
/** Between two pieces of an answer, not for the whole of it. */
const IDLE_TIMEOUT_MS = 60_000;
const REDIRECT_STATUSES: readonly number[] = [301, 302, 303, 307, 308];

export interface HttpClientOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Sent as a bearer token to this host and port alone, and not beyond a redirect to another. */
  readonly token?: { readonly host: string; readonly value: string };
  readonly signal?: AbortSignal;
  readonly idleTimeoutMs?: number;
}

export interface HttpAnswer {
  readonly status: number;
  /** One header's value. */
  header(name: string): string | undefined;
  /** A header of the first answer on the way here that had it; only of the host that was asked. */
  firstHeader(name: string): string | undefined;
  readonly isRedirected: boolean;
  /** Must be read or destroyed. */
  readonly body: Readable;
}

/**
 * GET over HTTPS (and over HTTP to this machine), through the environment's proxy. Redirects are followed here, so that
 * each hop is checked. What goes wrong on the network is DOWNLOAD_FAILED; addresses that must not be used are
 * INVALID_ARGUMENT when given and INVALID_MODEL when a server sends there.
 */
export class HttpClient {
  readonly #options: HttpClientOptions;
  readonly #dispatchers = new Map<string, Dispatcher>();

  constructor(options: HttpClientOptions) {
    this.#options = options;
  }

  async get(url: URL, headers: Readonly<Record<string, string>>): Promise<HttpAnswer> {
    if (!isAllowed(url)) {
      throw new SwitchyardError(
        'INVALID_ARGUMENT',
        `${url.protocol}//${url.host} is not allowed: use https (http only for this machine)`,
      );
    }
    let current = url;
    const onTheWay: Headers[] = [];
    for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects++) {
      const answer = await this.#send(current, headers);
      const own = headerReader(answer.headers);
      if (current.host === url.host) onTheWay.push(own);
      if (!REDIRECT_STATUSES.includes(answer.statusCode)) {
        return {
          status: answer.statusCode,
          header: own,
          firstHeader: (name) => onTheWay.map((read) => read(name)).find((value) => value !== undefined),
          isRedirected: redirects > 0,
          body: answer.body,
        };
      }
      answer.body.destroy();
      current = redirectTarget(current, own('location'));
    }
    throw new SwitchyardError(
      'DOWNLOAD_FAILED',
      `${url.host} redirects more than ${REDIRECTS_MAX} times; give the address where the files lie`,
    );
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    await Promise.all([...this.#dispatchers.values()].map((dispatcher) => dispatcher.destroy()));
  }

  async #send(url: URL, headers: Readonly<Record<string, string>>): Promise<Dispatcher.ResponseData> {
    const { token, signal, env, idleTimeoutMs = IDLE_TIMEOUT_MS } = this.#options;
    const proxy = proxyFor(url, env);
    try {
      const answer = await request(url, {
        dispatcher: this.#dispatcher(proxy),
        headers: {
          'user-agent': 'switchyard',
          // A compressed answer has another length and another checksum than the file.
          'accept-encoding': 'identity',
          ...headers,
          ...(token?.host === url.host ? { authorization: `Bearer ${token.value}` } : {}),
        },
        headersTimeout: idleTimeoutMs,
        bodyTimeout: idleTimeoutMs,
        ...(signal ? { signal } : {}),
      });
      // A connection can break before anybody reads; whoever reads then still sees the error.
      answer.body.on('error', () => undefined);
      return answer;
    } catch (error) {
      throw networkError(error, url.host, proxy?.host, signal);
    }
  }

  #dispatcher(proxy: URL | null): Dispatcher {
    const key = proxy?.href ?? '';
    const known = this.#dispatchers.get(key);
    if (known) return known;
    const connect = { timeout: CONNECT_TIMEOUT_MS };
    const dispatcher = proxy
      ? new ProxyAgent({ uri: proxy.href, requestTls: connect, proxyTls: connect })
      : new Agent({ connect });
    this.#dispatchers.set(key, dispatcher);
    return dispatcher;
  }
}

type Headers = (name: string) => string | undefined;

const headerReader =
  (headers: Dispatcher.ResponseData['headers']): Headers =>
  (name) => {
    const value = headers[name];
    return Array.isArray(value) ? value[0] : value;
  };

/** What a failed connection says to a person who may have no network at all. */
export function networkError(
  cause: unknown,
  host: string,
  proxyHost: string | undefined,
  signal: AbortSignal | undefined,
): SwitchyardError {
  if (cause instanceof SwitchyardError) return cause;
  if (signal?.aborted) {
    return new SwitchyardError(
      'DOWNLOAD_FAILED',
      `the download from ${host} was stopped; what was received is kept, run it again to go on`,
      { cause, details: { host } },
    );
  }
  const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? 'unknown';
  const via = proxyHost === undefined ? '' : ` through the proxy ${proxyHost}`;
  return new SwitchyardError(
    'DOWNLOAD_FAILED',
    `cannot download from ${host}${via} (${code}): check the network and HTTPS_PROXY, or download the files on a machine that reaches ${host}, bring the folder here and run "switchyard model import folder"`,
    { cause, details: { host, code } },
  );
}

/** Where a redirect leads. Errors: INVALID_MODEL when that is no address to take files from. */
export function redirectTarget(from: URL, location: string | undefined): URL {
  const refuse = (problem: string): SwitchyardError =>
    new SwitchyardError('INVALID_MODEL', `${from.host} redirects ${problem}`, {
      details: { host: from.host },
    });
  if (location === undefined || !URL.canParse(location, from.href)) throw refuse('without an address');
  const target = new URL(location, from);
  if (!isAllowed(target) || (from.protocol === 'https:' && target.protocol !== 'https:')) {
    throw refuse(`to ${target.protocol}//${target.host}, which is not https; nothing was taken from there`);
  }
  return target;
}

/** https anywhere; http where nobody else can listen. */
const isAllowed = (url: URL): boolean =>
  url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname));

const isLoopback = (hostname: string): boolean =>
  hostname === 'localhost' || hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.'));
