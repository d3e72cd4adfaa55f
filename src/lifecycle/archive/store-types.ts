export interface StoredFile {
  readonly bytes: number;
  /** 64 hex. */
  readonly sha256: string;
}

/**
 * Where archives lie: a local folder or an S3-compatible bucket. Names are relative, with `/`. A file is there whole or
 * not at all. Errors of every method: ARCHIVE_UNAVAILABLE while the place cannot be reached, DISK_FULL.
 */
export interface ArchiveStore {
  /** The same place for another process: `file:///…` or `s3://bucket/prefix`. */
  readonly uri: string;
  /**
   * Puts a local file there; what has this name and content is left as it is. `readBack`: its content is read to know that,
   * whatever the place says of it.
   */
  put(name: string, file: string, content: StoredFile, readBack: boolean): Promise<void>;
  /** The content in pieces; null when there is no such file. */
  read(name: string): Promise<AsyncIterable<Uint8Array> | null>;
  close(): void;
}
