import type { Listener } from '../../src/config/config.js';
import type { RouteView } from '../../src/gateway/admin/views.js';
import { sleep } from './yard.js';

export interface Answer {
  readonly status: number;
  readonly etag: string | null;
  readonly body: Record<string, unknown>;
}

export const urlOf = ({ host, port }: Listener): string => `http://${host}:${port}`;

export async function send(
  url: string,
  method: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const response = await fetch(url, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    etag: response.headers.get('etag'),
    body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
  };
}

export const target = (version: string, weight: number, more: Record<string, unknown> = {}) => ({
  version,
  weight,
  role: 'active',
  tier: 'ssd',
  mirror_bps: 0,
  ...more,
});

export const routeOf = async (adminUrl: string, corpus: string): Promise<RouteView> =>
  (await send(`${adminUrl}/v1/routes/${corpus}`, 'GET')).body as unknown as RouteView;

/** Encoded and searched whatever is remembered, unless `body` says otherwise. */
export const search = (
  httpUrl: string,
  body: Record<string, unknown> = {},
  headers: Record<string, string> = {},
): Promise<Answer> =>
  send(
    `${httpUrl}/v1/search`,
    'POST',
    { corpus: 'docs', text: 'an animal with stripes', top_k: 3, bypass_cache: true, ...body },
    headers,
  );

/** Requests one after the other in the background; `stop` tells how many were answered and what was refused. */
export function keepSearching(httpUrl: string): {
  /** So far. */
  answered(): number;
  stop(): Promise<{ answered: number; refused: string[] }>;
} {
  let stopping = false;
  let answered = 0;
  const refused: string[] = [];
  const work = (async () => {
    while (!stopping) {
      const answer = await search(httpUrl);
      if (answer.status === 200) answered++;
      else refused.push(`${answer.status} ${answer.body.reason}`);
      await sleep(5);
    }
  })();
  return {
    answered: () => answered,
    stop: async () => {
      stopping = true;
      await work;
      return { answered, refused };
    },
  };
}
