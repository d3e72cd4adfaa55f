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

  /** null when nothing listens there: the caller then goes to the registry itself. */
  async getIfRunning<T>(path: string): Promise<T | null> {
    try {
      return await this.get<T>(path);
    } catch (error) {
      if (error instanceof GatewayUnreachable) return null;
      throw error;
    }
  }

  /** The JSON answer; undefined for one without content. */
  async request<T>(
    method: Method,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    const { key, agent } = this.#access;
    let response: Response;
    let text: string;
    try {
      response = await fetch(`${this.#baseUrl}${path}`, {
        method,
        headers: {
          ...(key === null ? {} : { authorization: `Bearer ${key}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(agent === null ? {} : { dispatcher: agent }),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      text = await response.text();
    } catch (error) {
      throw new GatewayUnreachable(this.#baseUrl, error);
    }
    if (response.status === 204) return undefined as T;
    const answer = parseJson(text);
    if (response.ok) {
      if (answer === undefined)
        throw new SwitchyardError('INTERNAL', `${this.#baseUrl}${path} did not answer with JSON`);
      return answer as T;
    }
    throw problemToError(answer, response.status, this.#baseUrl);
  }
}

export class GatewayUnreachable extends SwitchyardError {
  constructor(baseUrl: string, cause: unknown) {
    super(
      'NOT_FOUND',
      `no gateway answers at ${baseUrl}; start one with \`switchyard serve\`, or name it with --url`,
      { cause },
    );
  }
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
