import { readFileSync } from 'node:fs';
import { Agent } from 'undici';
import { SwitchyardError } from '../errors.js';

/** How a command proves itself to a gateway, and knows that it speaks to the right one. */
export interface ClientAccess {
  /** An API key; null: none. */
  readonly key: string | null;
  /** Trusts the authority of `--ca-file`, shows the client's certificate; null: what Node trusts. */
  readonly agent: Agent | null;
}

export interface AccessOptions {
  readonly keyFile?: string;
  readonly caFile?: string;
}

/**
 * From the options, else from SWITCHYARD_API_KEY, SWITCHYARD_API_KEY_FILE, SWITCHYARD_CA_FILE,
 * SWITCHYARD_CLIENT_CERT_FILE and SWITCHYARD_CLIENT_KEY_FILE. A key is no option itself: other users of the machine can
 * read the options of a process. Errors: INVALID_CONFIG.
 */
export function clientAccess(
  options: AccessOptions = {},
  env: NodeJS.ProcessEnv = process.env,
): ClientAccess {
  const keyFile = options.keyFile ?? (env.SWITCHYARD_API_KEY ? undefined : env.SWITCHYARD_API_KEY_FILE);
  const key = keyFile ? readKey(keyFile).toString('latin1').trim() : env.SWITCHYARD_API_KEY;
  const caFile = options.caFile ?? env.SWITCHYARD_CA_FILE;
  const { SWITCHYARD_CLIENT_CERT_FILE: certFile, SWITCHYARD_CLIENT_KEY_FILE: certKeyFile } = env;
  const connect = {
    ...(caFile ? { ca: read(caFile) } : {}),
    ...(certFile && certKeyFile ? { cert: read(certFile), key: read(certKeyFile) } : {}),
  };
  return {
    key: key || null,
    agent: Object.keys(connect).length === 0 ? null : new Agent({ connect }),
  };
}

/** The name of a key file that stands for standard input: a command in a container takes the key from outside. */
const STDIN = '-';
/** A pipe gives it once, and a command may ask twice. */
let keyOnStdin: Buffer | null = null;

function readKey(file: string): Buffer {
  if (file !== STDIN) return read(file);
  keyOnStdin ??= read(0);
  return keyOnStdin;
}

function read(file: string | 0): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new SwitchyardError(
      'INVALID_CONFIG',
      `${file === 0 ? 'standard input' : file} cannot be read (${(error as NodeJS.ErrnoException).code})`,
    );
  }
}
