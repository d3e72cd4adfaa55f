import { isIP } from 'node:net';
import { SwitchyardError } from '../../../errors.js';

/** The environment's word on proxies, as curl and npm read it: lower case before upper case. */
type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy for a URL, by HTTPS_PROXY (or HTTP_PROXY for http) and NO_PROXY; null: none. May hold a password: use
 * `host` of it in messages. Errors: INVALID_CONFIG naming the variable, not its value.
 */
export function proxyFor(url: URL, env: Environment): URL | null {
  const name = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const value = env[name.toLowerCase()] || env[name];
  if (!value || isExcepted(url, env.no_proxy || env.NO_PROXY || '')) return null;
  const proxy = URL.canParse(value) ? new URL(value) : null;
  if (proxy && (proxy.protocol === 'http:' || proxy.protocol === 'https:')) return proxy;
  throw new SwitchyardError('INVALID_CONFIG', `${name} must be the URL of an http or https proxy`, {
    details: { setting: name },
  });
}

/** Entries are hosts (which stand for their subdomains too), with an optional leading dot and port, or `*`. */
function isExcepted(url: URL, noProxy: string): boolean {
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return noProxy
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .some((entry) => {
      if (entry === '*') return true;
      const [, host = '', entryPort] = /^(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
      if (entryPort !== undefined && entryPort !== port) return false;
      const name = host.replace(/^\*?\./, '');
      return url.hostname === name || (isIP(url.hostname) === 0 && url.hostname.endsWith(`.${name}`));
    });
}
