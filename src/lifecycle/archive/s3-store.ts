import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import type { S3Client } from '@aws-sdk/client-s3';
import { SwitchyardError } from '../../errors.js';
import type { ArchiveStore, StoredFile } from './store-types.js';

/** A file up to this size is sent in one request, a larger one in parts of it: what a retry sends again is in memory. */
const PART_BYTES = 64 << 20;
const SHA256_METADATA = 'sha256';

export interface S3Settings {
  /** Null: AWS itself. */
  readonly endpoint: string | null;
  readonly region: string;
  /** `endpoint/bucket/key` instead of `bucket.endpoint/key`, as most servers other than AWS want it. */
  readonly forcePathStyle: boolean;
}

type Sdk = typeof import('@aws-sdk/client-s3');

/** Credentials are found as every AWS client finds them: environment, files, or the role of the machine. */
export async function openS3Store(
  bucket: string,
  prefix: string,
  settings: S3Settings,
): Promise<ArchiveStore> {
  // Loaded only here: nothing else pays for it.
  const sdk = await import('@aws-sdk/client-s3');
  const client = new sdk.S3Client({
    region: settings.region,
    forcePathStyle: settings.forcePathStyle,
    ...(settings.endpoint === null ? {} : { endpoint: settings.endpoint }),
    // Each file's SHA-256 is in the archive's manifest; not every server knows the client's own checksums.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  return new S3Store(sdk, client, bucket, prefix);
}

class S3Store implements ArchiveStore {
  readonly uri: string;
  readonly #sdk: Sdk;
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;

  constructor(sdk: Sdk, client: S3Client, bucket: string, prefix: string) {
    this.#sdk = sdk;
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = prefix;
    this.uri = `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`;
  }

  async put(name: string, file: string, content: StoredFile, readBack: boolean): Promise<void> {
    const target = { Bucket: this.#bucket, Key: this.#key(name) };
    const Metadata = { [SHA256_METADATA]: content.sha256 };
    await this.#guarded(async () => {
      if ((await this.#saysItHolds(target, content)) && (!readBack || (await this.#holds(target, content))))
        return;
      const { size } = await stat(file);
      const handle = await open(file, 'r');
      try {
        const part = async (at: number): Promise<Buffer> => {
          const body = Buffer.alloc(Math.min(PART_BYTES, size - at));
          for (let done = 0; done < body.length; ) {
            const { bytesRead } = await handle.read(body, done, body.length - done, at + done);
            if (bytesRead === 0) throw new TypeError('a file became shorter while it was sent');
            done += bytesRead;
          }
          return body;
        };
        if (size <= PART_BYTES) {
          await this.#client.send(
            new this.#sdk.PutObjectCommand({ ...target, Metadata, Body: await part(0) }),
          );
        } else await this.#putInParts({ ...target, Metadata }, size, part);
      } finally {
        await handle.close();
      }
    });
  }

  /** By the metadata that it was sent with: no byte of it is read, so damage is not seen. */
  async #saysItHolds(target: { Bucket: string; Key: string }, content: StoredFile): Promise<boolean> {
    try {
      const head = await this.#client.send(new this.#sdk.HeadObjectCommand(target));
      return head.ContentLength === content.bytes && head.Metadata?.[SHA256_METADATA] === content.sha256;
    } catch (error) {
      if (statusOf(error) === 404) return false;
      throw error;
    }
  }

  async #holds(target: { Bucket: string; Key: string }, content: StoredFile): Promise<boolean> {
    const { Body } = await this.#client.send(new this.#sdk.GetObjectCommand(target));
    if (Body === undefined) return false;
    const hash = createHash('sha256');
    for await (const piece of Body as unknown as AsyncIterable<Uint8Array>) hash.update(piece);
    return hash.digest('hex') === content.sha256;
  }

  async #putInParts(
    target: { Bucket: string; Key: string; Metadata: Record<string, string> },
    size: number,
    part: (at: number) => Promise<Buffer>,
  ): Promise<void> {
    const { Metadata, ...place } = target;
    const begun = await this.#client.send(new this.#sdk.CreateMultipartUploadCommand({ ...place, Metadata }));
    const UploadId = begun.UploadId;
    try {
      const Parts: { ETag?: string; PartNumber: number }[] = [];
      for (let at = 0, PartNumber = 1; at < size; at += PART_BYTES, PartNumber++) {
        const Body = await part(at);
        const { ETag } = await this.#client.send(
          new this.#sdk.UploadPartCommand({ ...place, UploadId, PartNumber, Body }),
        );
        Parts.push({ PartNumber, ...(ETag === undefined ? {} : { ETag }) });
      }
      await this.#client.send(
        new this.#sdk.CompleteMultipartUploadCommand({ ...place, UploadId, MultipartUpload: { Parts } }),
      );
    } catch (error) {
      await this.#client
        .send(new this.#sdk.AbortMultipartUploadCommand({ ...place, UploadId }))
        .catch(() => undefined);
      throw error;
    }
  }

  async read(name: string): Promise<AsyncIterable<Uint8Array> | null> {
    return this.#guarded(async () => {
      try {
        const { Body } = await this.#client.send(
          new this.#sdk.GetObjectCommand({ Bucket: this.#bucket, Key: this.#key(name) }),
        );
        return Body === undefined ? null : this.#pieces(Body as unknown as AsyncIterable<Uint8Array>);
      } catch (error) {
        if (statusOf(error) === 404) return null;
        throw error;
      }
    });
  }

  async *#pieces(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      yield* body;
    } catch (error) {
      throw this.#failure(error);
    }
  }

  close(): void {
    this.#client.destroy();
  }

  #key(name: string): string {
    return this.#prefix === '' ? name : `${this.#prefix}/${name}`;
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /** The client's message may hold addresses and key ids: it is the cause, for the log. */
  #failure(error: unknown): unknown {
    if (error instanceof SwitchyardError || error instanceof TypeError) return error;
    const status = statusOf(error);
    const why =
      status === 403 || status === 401
        ? 'its credentials do not allow it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role'
        : status === 404
          ? 'there is no such bucket'
          : `${(error as Error).name}: check archive.s3.endpoint and the network`;
    return new SwitchyardError('ARCHIVE_UNAVAILABLE', `${this.uri} cannot be used: ${why}`, {
      cause: error,
    });
  }
}

const statusOf = (error: unknown): number | undefined =>
  (error as { $metadata?: { httpStatusCode?: number } } | undefined)?.$metadata?.httpStatusCode;
