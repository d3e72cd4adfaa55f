import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { AuthSettings } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import { readSecretFile } from '../wiring/secret-file.js';

const LENGTH_MIN = 32;

/** The secret that stored keys are made with. Whoever has it and can write the registry can make keys. */
export interface KeySecret {
  readonly secret: KeyObject;
  /** Names the secret without giving it away: keys made with another one cannot be verified with this. */
  readonly secretId: string;
}

/** Configured, read from a file, or made under var_dir at first use. Errors: INVALID_CONFIG. */
export async function loadKeySecret(settings: AuthSettings): Promise<KeySecret> {
  const { hmacSecret, hmacSecretFile, isHmacSecretGiven } = settings;
  if (hmacSecret !== null) return named(Buffer.from(hmacSecret));
  let bytes: Buffer;
  try {
    if (!isHmacSecretGiven) return named(Buffer.from(await readSecretFile(hmacSecretFile)));
    bytes = await readFile(hmacSecretFile);
  } catch (error) {
    if (error instanceof SwitchyardError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw invalid(`${hmacSecretFile} cannot be read (${code}): it holds the secret of the API keys`, error);
  }
  // One that a gateway made has just these bytes, whatever they are; one that a person wrote may end its line.
  const end = bytes.length > LENGTH_MIN && bytes.at(-1) === 0x0a ? -1 : undefined;
  const secret = bytes.subarray(0, end);
  if (secret.length < LENGTH_MIN)
    throw invalid(
      `${hmacSecretFile} has ${secret.length} bytes, must be >= ${LENGTH_MIN}: write a random secret, e.g. with \`openssl rand -hex 32\``,
    );
  return named(secret);
}

function named(bytes: Buffer): KeySecret {
  const secret = createSecretKey(bytes);
  const secretId = createHmac('sha256', secret).update('switchyard hmac secret').digest('hex').slice(0, 16);
  return { secret, secretId };
}

const invalid = (message: string, cause?: unknown): SwitchyardError =>
  new SwitchyardError('INVALID_CONFIG', message, { cause, details: { setting: 'auth.hmac_secret_file' } });
