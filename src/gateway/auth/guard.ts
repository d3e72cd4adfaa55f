import { SwitchyardError } from '../../errors.js';
import type { Logger } from '../../telemetry/log.js';
import { type Access, allows, leastRole } from './access.js';
import { ANYONE, type Caller } from './caller.js';
import type { KeyRing } from './key-ring.js';

/** Header (HTTP) and metadata (gRPC) that hold the key: `Bearer sy_…`. */
export const AUTHORIZATION = 'authorization';
const SCHEME = /^bearer +/i;
/** A longer header is no key; it is not looked at. */
const HEADER_CHARS_MAX = 256;

/** What stands at a listener's door: one call for every request, before its body is read. */
export interface Guard {
  readonly asksForKeys: boolean;
  /**
   * Who may go on to what needs `access`. `authorization`: the header as it was sent, undefined where there is none.
   * Errors: UNAUTHENTICATED, PERMISSION_DENIED, REGISTRY_UNAVAILABLE.
   */
  admit(authorization: unknown, access: Access): Caller;
}

/** Of a listener that asks for no key: whoever reaches it may do everything but make keys that work elsewhere. */
export const OPEN_GUARD: Guard = Object.freeze({
  asksForKeys: false,
  admit: (_authorization: unknown, access: Access) => {
    if (access !== 'administer') return ANYONE;
    throw new SwitchyardError(
      'PERMISSION_DENIED',
      'API keys are managed over a listener with auth: keys by the holder of an admin key, or on the machine itself by `switchyard key` without a key',
      { details: { needed: leastRole(access) } },
    );
  },
});

/** Whose key ended goes on asking; the log is told now and then. */
const SAY_AGAIN_MS = 60_000;

export class KeyGuard implements Guard {
  readonly asksForKeys = true;
  readonly #ring: KeyRing;
  readonly #log: Pick<Logger, 'warn'>;
  readonly #saidAtMs = new Map<string, number>();

  constructor(ring: KeyRing, log: Pick<Logger, 'warn'>) {
    this.#ring = ring;
    this.#log = log;
  }

  admit(authorization: unknown, access: Access): Caller {
    if (access === 'open') return ANYONE;
    if (typeof authorization !== 'string' || authorization === '')
      throw new SwitchyardError(
        'UNAUTHENTICATED',
        'an API key is needed: send it as `authorization: Bearer sy_…`',
      );
    const scheme = authorization.length > HEADER_CHARS_MAX ? null : SCHEME.exec(authorization);
    if (scheme === null)
      throw new SwitchyardError('UNAUTHENTICATED', 'the authorization must be `Bearer sy_…`');
    const caller = this.#verify(authorization.slice(scheme[0].length), access === 'observe');
    if (allows(caller.role, access)) return caller;
    throw new SwitchyardError(
      'PERMISSION_DENIED',
      `key ${caller.keyId} has the role ${caller.role}, this needs ${leastRole(access)}`,
      { details: { role: caller.role, needed: leastRole(access) } },
    );
  }

  #verify(token: string, toObserve: boolean): ReturnType<KeyRing['verify']> {
    try {
      return this.#ring.verify(token, toObserve);
    } catch (thrown) {
      // Named only for who knows the secret: strangers cannot fill the log.
      if (thrown instanceof SwitchyardError && thrown.details.key_id !== undefined)
        this.#sayEnded(thrown.details.key_id, thrown.message);
      throw thrown;
    }
  }

  #sayEnded(keyId: string, why: string): void {
    const nowMs = performance.now();
    if (nowMs - (this.#saidAtMs.get(keyId) ?? Number.NEGATIVE_INFINITY) < SAY_AGAIN_MS) return;
    this.#saidAtMs.set(keyId, nowMs);
    this.#log.warn({ keyId, why }, 'a key that ended is still in use');
  }
}
