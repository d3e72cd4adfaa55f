import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import type { TlsFiles } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import type { Logger } from '../../telemetry/log.js';

/** A client that does not finish its handshake is let go of. */
export const HANDSHAKE_MS_MAX = 10_000;

/** What a listener's server is made with besides its certificate. */
export interface HandshakeOptions {
  readonly handshakeTimeout: number;
  readonly requestCert: boolean;
  readonly rejectUnauthorized: boolean;
}

/**
 * The certificate of one listener, read again when its files change. New connections get the new one, open ones go on.
 * Files that are no certificate, or one without its key, change nothing: what was read last goes on.
 */
export class Certificates {
  readonly handshake: HandshakeOptions;
  readonly #files: TlsFiles;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  readonly #listeners: ((context: SecureContextOptions) => void)[] = [];
  readonly #onSignal = (): void => void this.reload();
  #context: SecureContextOptions;
  #failure = '';

  private constructor(files: TlsFiles, first: SecureContextOptions, intervalMs: number, log: Logger) {
    this.#files = files;
    this.#log = log;
    this.#context = first;
    const isMutual = files.clientCaFile !== null;
    this.handshake = {
      handshakeTimeout: HANDSHAKE_MS_MAX,
      requestCert: isMutual,
      rejectUnauthorized: isMutual,
    };
    this.#timer = setInterval(() => void this.reload(), intervalMs).unref();
    process.on('SIGHUP', this.#onSignal);
  }

  /** Errors: INVALID_CONFIG, naming the file. */
  static async open(files: TlsFiles, intervalMs: number, log: Logger): Promise<Certificates> {
    return new Certificates(files, await readContext(files), intervalMs, log);
  }

  get context(): SecureContextOptions {
    return this.#context;
  }

  /** When the certificate in use ends, in milliseconds since 1970. */
  get endsAtMs(): number {
    return Date.parse(new X509Certificate(this.#context.cert as Buffer).validTo);
  }

  onChange(listener: (context: SecureContextOptions) => void): void {
    this.#listeners.push(listener);
  }

  /** Reads the files now. Resolves when listeners have what is in them. */
  async reload(): Promise<void> {
    const { certFile } = this.#files;
    let next: SecureContextOptions;
    try {
      next = await readContext(this.#files);
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#failure)
        this.#log.error({ err: error, certFile }, 'a certificate cannot be used; the last one goes on');
      this.#failure = message;
      return;
    }
    this.#failure = '';
    if (isSame(this.#context, next)) return;
    this.#context = next;
    for (const listener of this.#listeners) listener(next);
    this.#log.info({ certFile }, 'a new certificate is in use');
  }

  close(): void {
    clearInterval(this.#timer);
    process.off('SIGHUP', this.#onSignal);
  }
}

async function readContext(files: TlsFiles): Promise<SecureContextOptions> {
  const { certFile, keyFile, clientCaFile } = files;
  const [cert, key, ca] = await Promise.all([
    readPem(certFile),
    readPem(keyFile),
    clientCaFile === null ? null : readPem(clientCaFile),
  ]);
  const context: SecureContextOptions = {
    cert,
    key,
    minVersion: 'TLSv1.2',
    ...(ca === null ? {} : { ca }),
  };
  try {
    createSecureContext(context);
  } catch (error) {
    // OpenSSL's words name a function and a reason, never what is in the files.
    throw invalid(
      `${certFile} and ${keyFile} are no certificate with its key: ${(error as Error).message}`,
      error,
    );
  }
  if (ca !== null) expectCertificate(ca, clientCaFile ?? '');
  return context;
}

/** OpenSSL takes a file without any certificate as a list of nobody, and every client would be turned away. */
function expectCertificate(pem: Buffer, file: string): void {
  try {
    new X509Certificate(pem);
  } catch (error) {
    throw invalid(`${file} has no certificate: ${(error as Error).message}`, error);
  }
}

async function readPem(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw invalid(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`, error);
  }
}

const isSame = (a: SecureContextOptions, b: SecureContextOptions): boolean =>
  (['cert', 'key', 'ca'] as const).every((part) => String(a[part] ?? '') === String(b[part] ?? ''));

const invalid = (message: string, cause: unknown): SwitchyardError =>
  new SwitchyardError('INVALID_CONFIG', message, { cause });
