import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { SwitchyardError } from '../../../errors.js';
import { summariseFile } from '../../../files/hash.js';
import { asDiskError } from '../../../files/publish.js';
import { type HttpAnswer, type HttpClient, networkError } from './http-client.js';

/** Attempts in a row that brought not a byte before a download is given up. */
const FRUITLESS_ATTEMPTS_MAX = 4;
const ATTEMPTS_MAX = 100;
const RETRY_DELAY_MS = 500;
const SHA256 = /^[0-9a-f]{64}$/;

export interface FileDownload {
  readonly url: URL;
  /** Where the file goes; `.part` and `.source.json` beside it are this function's own. */
  readonly target: string;
  /** Name for messages. */
  readonly name: string;
  readonly bytesMax: number;
  /** What the file must be. Default: what the server's ETag says, when that is a SHA-256. */
  readonly sha256?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly retryDelayMs?: number | undefined;
  readonly onBytes?: ((received: number, total: number | undefined) => void) | undefined;
}

/** What is remembered of a file beside it. */
interface Source {
  /** Strong ETag of the server that sent it. */
  readonly etag: string | null;
  /** Of the whole file, once it is there. */
  readonly sha256: string | null;
}

export type Downloaded =
  | { readonly kind: 'there'; readonly commit: string | undefined }
  | { readonly kind: 'missing' };

/**
 * Downloads a file, going on where an earlier attempt or run stopped as long as the server's file is the same. The
 * file appears under its name only when it is whole and its checksum right; one that is there already and still right
 * is not sent again.
 * Errors: DOWNLOAD_FAILED (network), INVALID_MODEL (too large, another checksum, no access), DISK_FULL.
 */
export async function downloadFile(client: HttpClient, download: FileDownload): Promise<Downloaded> {
  const { target, signal, retryDelayMs = RETRY_DELAY_MS } = download;
  await mkdir(path.dirname(target), { recursive: true });
  let fruitless = 0;
  for (let attempts = 1; ; attempts++) {
    const before = await sizeOf(`${target}.part`);
    try {
      return await attempt(client, download);
    } catch (error) {
      if (!(error instanceof Interrupted)) throw asDiskError(error, target);
      fruitless = (await sizeOf(`${target}.part`)) > before ? 1 : fruitless + 1;
      if (fruitless >= FRUITLESS_ATTEMPTS_MAX || attempts >= ATTEMPTS_MAX) throw error.reason;
      await pause(retryDelayMs * 2 ** (fruitless - 1), signal, error.reason);
    }
  }
}

/** Waits; ends with `reason` when the signal says so. */
async function pause(ms: number, signal: AbortSignal | undefined, reason: SwitchyardError): Promise<void> {
  if (signal?.aborted) throw reason;
  try {
    await sleep(ms, undefined, signal ? { signal } : {});
  } catch (error) {
    throw signal?.aborted ? reason : error;
  }
}

/** Something that may go better the next time; `reason` is what to say if it does not. */
class Interrupted extends Error {
  readonly reason: SwitchyardError;
  constructor(reason: SwitchyardError) {
    super(reason.message, { cause: reason });
    this.reason = reason;
  }
}

async function attempt(client: HttpClient, download: FileDownload): Promise<Downloaded> {
  const { target, url } = download;
  const part = `${target}.part`;
  const source = await readSource(target);
  const existing = await verifiedSha256(target, source);
  if (existing !== undefined && existing === download.sha256) return { kind: 'there', commit: undefined };

  const received = source.etag === null || existing !== undefined ? 0 : await sizeOf(part);
  const answer = await get(client, url, conditions(source, existing, received));
  const commit = answer.firstHeader('x-repo-commit');
  const expected = download.sha256 ?? announcedSha256(answer);
  try {
    if (answer.status === 304 && existing !== undefined) return { kind: 'there', commit };
    if (existing !== undefined && existing === expected) return { kind: 'there', commit };
    if (answer.status === 404 || answer.status === 410) return { kind: 'missing' };
    const etag = strongEtag(answer.header('etag'));
    const isRest = answer.status === 206;
    if (answer.status === 416 && received > 0 && answer.header('content-range') === `bytes */${received}`) {
      await finish(download, { etag: source.etag, sha256: expected ?? null }, received);
      return { kind: 'there', commit };
    }
    if (answer.status === 416 || (isRest && !isSameFile(answer, source, etag, received))) {
      await rm(part, { force: true });
      throw new Interrupted(refused(answer.status, download));
    }
    if (!isRest && answer.status !== 200) throw refusal(answer.status, download);
    expectIdentity(answer, download);
    if (!isRest) {
      await rm(part, { force: true });
      await writeSource(target, { etag, sha256: null });
    }
    const start = isRest ? received : 0;
    const total = totalBytes(answer, start);
    if (total !== undefined && total > download.bytesMax) throw tooLarge(download, total);
    await receive(answer, download, start, total);
    await finish(download, { etag, sha256: expected ?? null }, total);
    return { kind: 'there', commit };
  } finally {
    answer.body.destroy();
  }
}

async function get(
  client: HttpClient,
  url: URL,
  headers: Readonly<Record<string, string>>,
): Promise<HttpAnswer> {
  try {
    return await client.get(url, headers);
  } catch (error) {
    if (error instanceof SwitchyardError && error.reason === 'DOWNLOAD_FAILED') throw new Interrupted(error);
    throw error;
  }
}

function conditions(source: Source, existing: string | undefined, received: number): Record<string, string> {
  if (source.etag === null) return {};
  if (existing !== undefined) return { 'if-none-match': source.etag };
  return received > 0 ? { range: `bytes=${received}-`, 'if-range': source.etag } : {};
}

async function receive(
  answer: HttpAnswer,
  download: FileDownload,
  start: number,
  total: number | undefined,
): Promise<void> {
  const { target, bytesMax, onBytes, url, signal } = download;
  let received = start;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      received += chunk.length;
      if (received > bytesMax) return done(tooLarge(download, received));
      onBytes?.(received, total);
      done(null, chunk);
    },
  });
  const part = await open(`${target}.part`, start > 0 ? 'a' : 'w');
  try {
    await pipeline(answer.body, meter, part.createWriteStream());
  } catch (error) {
    if (error instanceof SwitchyardError) {
      await discard(target);
      throw error;
    }
    const onDisk = asDiskError(error, target);
    if (onDisk instanceof SwitchyardError) throw onDisk;
    throw new Interrupted(networkError(error, url.host, undefined, signal));
  }
}

/** Checks a whole part and gives it its name. */
async function finish(download: FileDownload, source: Source, total: number | undefined): Promise<void> {
  const { target, url, name, signal } = download;
  const { bytes, sha256 } = await summariseFile(`${target}.part`);
  if (total !== undefined && bytes < total) {
    throw new Interrupted(networkError(undefined, url.host, undefined, signal));
  }
  if ((total !== undefined && bytes !== total) || (source.sha256 !== null && sha256 !== source.sha256)) {
    await discard(target);
    throw new SwitchyardError(
      'INVALID_MODEL',
      source.sha256 === null
        ? `${name} from ${url.host} has ${bytes} bytes, announced were ${total}; it was removed`
        : `${name} from ${url.host} has the SHA-256 ${sha256}, it must have ${source.sha256}; it was removed`,
      { details: { file: name } },
    );
  }
  await rename(`${target}.part`, target);
  await writeSource(target, { etag: source.etag, sha256 });
}

async function discard(target: string): Promise<void> {
  await rm(`${target}.part`, { force: true });
  await rm(sourceFile(target), { force: true });
}

/** A server may ignore If-Range, or answer with another range than was asked for. */
function isSameFile(answer: HttpAnswer, source: Source, etag: string | null, received: number): boolean {
  const [, start] = /^bytes (\d+)-\d+\/(?:\d+|\*)$/.exec(answer.header('content-range') ?? '') ?? [];
  return Number(start ?? Number.NaN) === received && received > 0 && (etag === null || etag === source.etag);
}

function totalBytes(answer: HttpAnswer, start: number): number | undefined {
  const length = answer.header('content-length');
  return length !== undefined && /^\d+$/.test(length) ? start + Number(length) : undefined;
}

const strongEtag = (etag: string | undefined): string | null =>
  etag !== undefined && /^"[\x21\x23-\x7e]+"$/.test(etag) ? etag : null;

/**
 * A Hugging Face repository names a large file's SHA-256 in `x-linked-etag` and sends on to a store whose ETag may be
 * anything; small files and other servers have it in the ETag, or a value of another form.
 */
function announcedSha256(answer: HttpAnswer): string | undefined {
  const linked = answer.firstHeader('x-linked-etag');
  const etag = linked ?? (answer.isRedirected ? undefined : answer.header('etag'));
  const value = etag?.replace(/^"|"$/g, '');
  return value !== undefined && SHA256.test(value) ? value : undefined;
}

function expectIdentity(answer: HttpAnswer, { url, name }: FileDownload): void {
  const encoding = answer.header('content-encoding');
  if (encoding === undefined || encoding === 'identity') return;
  throw new SwitchyardError('INVALID_MODEL', `${url.host} sends ${name} compressed (${encoding}), unasked`, {
    details: { file: name },
  });
}

const refused = (status: number, { url, name }: FileDownload): SwitchyardError =>
  new SwitchyardError(
    'DOWNLOAD_FAILED',
    `${url.host} answers ${status} for ${name}, which is of no use here`,
    {
      details: { host: url.host, file: name, status: String(status) },
    },
  );

function refusal(status: number, download: FileDownload): Error {
  const { url, name } = download;
  if (status === 401 || status === 403) {
    return new SwitchyardError(
      'INVALID_MODEL',
      `${url.host} refuses ${name} (${status}): check the name, or set HF_TOKEN for a repository that needs it`,
      { details: { host: url.host, file: name, status: String(status) } },
    );
  }
  const failed = refused(status, download);
  return status === 408 || status === 429 || status >= 500 ? new Interrupted(failed) : failed;
}

const tooLarge = ({ name, url, bytesMax }: FileDownload, bytes: number): SwitchyardError =>
  new SwitchyardError(
    'INVALID_MODEL',
    `${name} from ${url.host} has ${bytes} bytes or more, it may have ${bytesMax}`,
    { details: { file: name, max: String(bytesMax) } },
  );

const sourceFile = (target: string): string => `${target}.source.json`;

const writeSource = (target: string, source: Source): Promise<void> =>
  writeFile(sourceFile(target), JSON.stringify(source));

/** What is not there or not valid is as good as nothing: the file is downloaded again. */
async function readSource(target: string): Promise<Source> {
  const nothing: Source = { etag: null, sha256: null };
  let json: Partial<Source> | null;
  try {
    json = JSON.parse(await readFile(sourceFile(target), 'utf8')) as Partial<Source> | null;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return nothing;
    throw error;
  }
  return { etag: strongEtag(json?.etag ?? undefined), sha256: json?.sha256 ?? null };
}

/** SHA-256 of a file from an earlier run, if it is still what was received. */
async function verifiedSha256(target: string, source: Source): Promise<string | undefined> {
  if (source.sha256 === null || (await sizeOf(target)) === 0) return undefined;
  const { sha256 } = await summariseFile(target);
  return sha256 === source.sha256 ? sha256 : undefined;
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw error;
  }
}
