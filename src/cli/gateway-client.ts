import { fetch, type Response } from 'undici';
import { errorFromFrame, type Reason, SwitchyardError } from '../errors.js';
import { type ClientAccess, clientAccess } from './client-access.js';

type Method = 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';

/** A client of a running gateway's HTTP listeners. Errors come back as the catalogue's reasons, with their details. */
export class GatewayClient {
  readonly #baseUrl: string;
  readonly #access: ClientAccess;

  constructor(baseUrl: string, access: ClientAccess = clientAccess()) {
    this.#access = access;
    this.#baseUrl = baseUrl.replace(/\/+$/, '');
  }

  get<T>(path: string): Promise<T> {
    return this.request<T>('GET', path);
  }

  post<T>(path: string, body: unknown): Promise<T> {
    return this.request<T>('POST', path, body);
  }

  /**
   * null when nothing listens there: the caller then goes to the registry itself. Something that listens and does not
   * answer, or not as a gateway does, is an error: a gateway that hangs or speaks TLS must not be passed by.
   */
  async getIfRunning<T>(path: string, waitMsMax = PROBE_MS_MAX): Promise<T | null> {
    try {
      return await this.request<T>('GET', path, undefined, {}, AbortSignal.timeout(waitMsMax));
    } catch (error) {
      if (!(error instanceof GatewayUnreachable)) throw error;
      const { code } = error;
      if (code === null || NOBODY_THERE.includes(code)) return null;
      throw new SwitchyardError(
        'INVALID_CONFIG',
        `something listens at ${this.#baseUrl} and does not answer as a gateway does (${code === TIMEOUT ? `nothing within ${waitMsMax / 1000} s` : code}): a gateway that hangs or asks for TLS as listen.admin_http says, or another program; name the gateway's port with --admin-port`,
        { cause: error },
      );
    }
  }

  /** The JSON answer; undefined for one without content. */
  async request<T>(
    method: Method,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
    signal: AbortSignal | null = null,
  ): Promise<T> {
    const { response, text } = await this.#exchange(method, path, body, headers, signal);
    if (response.status === 204) return undefined as T;
    const answer = parseJson(text);
    if (response.ok) {
      if (answer === undefined)
        throw new SwitchyardError('INTERNAL', `${this.#baseUrl}${path} did not answer with JSON`);
      return answer as T;
    }
    throw problemToError(answer, response.status, this.#baseUrl);
  }

  /** The answer as it is. */
  async getText(path: string): Promise<string> {
    const { response, text } = await this.#exchange('GET', path, undefined, {}, null);
    if (response.ok) return text;
    throw problemToError(parseJson(text), response.status, this.#baseUrl);
  }

  async #exchange(
    method: Method,
    path: string,
    body: unknown,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal | null,
  ): Promise<{ readonly response: Response; readonly text: string }> {
    const { key, agent } = this.#access;
    try {
      const response = await fetch(`${this.#baseUrl}${path}`, {
        method,
        headers: {
          ...(key === null ? {} : { authorization: `Bearer ${key}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(agent === null ? {} : { dispatcher: agent }),
        ...(signal === null ? {} : { signal }),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return { response, text: await response.text() };
    } catch (error) {
      throw new GatewayUnreachable(this.#baseUrl, error);
    }
  }
}

/** A gateway that lives answers this at once, also under overload. */
const PROBE_MS_MAX = 10_000;
const TIMEOUT = 'TIMEOUT';
const NOBODY_THERE: readonly string[] = [
  'ECONNREFUSED',
  'ENOTFOUND',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EADDRNOTAVAIL',
];

export class GatewayUnreachable extends SwitchyardError {
  /** Why, as the system or TLS names it; null where no connection was tried. */
  readonly code: string | null;

  constructor(baseUrl: string, cause: unknown) {
    super(
      'NOT_FOUND',
      `no gateway answers at ${baseUrl}; start one with \`switchyard serve\`, or say where it listens: --admin-port, and --url for search and embed`,
      { cause },
    );
    this.code = codeOf(cause);
  }
}

/** fetch wraps what went wrong below it. */
function codeOf(thrown: unknown): string | null {
  if (!(thrown instanceof Error)) return null;
  if (thrown.name === 'TimeoutError') return TIMEOUT;
  const { code } = thrown as NodeJS.ErrnoException;
  return typeof code === 'string' ? code : codeOf(thrown.cause);
}

/** A problem document's own members; all others are the error's details. */
const STANDARD = ['type', 'title', 'status', 'detail', 'reason', 'instance'];

function problemToError(body: unknown, status: number, baseUrl: string): SwitchyardError {
  const problem = (typeof body === 'object' && body !== null ? body : {}) as Readonly<
    Record<string, unknown>
  >;
  const { reason, detail } = problem;
  if (typeof reason !== 'string') {
    return new SwitchyardError(
      'INTERNAL',
      `${baseUrl} answered ${status}, and not as a Switchyard gateway does`,
    );
  }
  const details = Object.entries(problem).filter(
    (entry): entry is [string, string] => !STANDARD.includes(entry[0]) && typeof entry[1] === 'string',
  );
  return errorFromFrame({
    reason: reason as Reason, // one that this program does not know is read as INTERNAL
    message: typeof detail === 'string' ? detail : reason,
    details: Object.fromEntries(details),
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
