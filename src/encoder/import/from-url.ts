import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { sha256Hex } from '../../files/hash.js';
import type { ModelFolder } from '../manifest.js';
import { MODEL_FILES } from '../model-folder.js';
import { downloadFile } from './download/download-file.js';
import { withFolderLock } from './download/folder-lock.js';
import { HttpClient } from './download/http-client.js';
import { readInputFile } from './input-file.js';
import { importLocalFolder, type LocalFolderImport } from './local-folder.js';
import { fileUrl, type ModelLocation, type ResolvedLocation, resolveLocation } from './model-location.js';
import { inspectOnnx } from './onnx-file.js';
import { poolingConfigFile } from './sentence-transformers.js';

export interface UrlImport extends Omit<LocalFolderImport, 'folder' | 'source'> {
  readonly location: ModelLocation;
  /** Downloads are kept here until the import succeeds, so that a failed one goes on where it stopped. */
  readonly cacheFolder: string;
  /** SHA-256 that files must have, by their path. Default: what the server's ETag says, when that is one. */
  readonly sha256?: Readonly<Record<string, string>>;
  /** Bytes that one file of weights may have. Default: 8 GiB. */
  readonly weightsBytesMax?: number;
  /** Received bytes of a file, of its total when the server says it. */
  readonly onDownload?: (file: string, received: number, total: number | undefined) => void;
  readonly signal?: AbortSignal;
  /** HTTPS_PROXY, NO_PROXY and HF_TOKEN are read from it. Default: the process's. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Before the first repetition of what failed on the network; doubled for each one after. Default: 500. */
  readonly retryDelayMs?: number;
}

/** Tried in turn when none is named: a directory cannot be listed over HTTP. */
const ONNX_CANDIDATES = ['onnx/model.onnx', 'model.onnx'] as const;
/** What `importLocalFolder` reads when it is there, besides the pooling that modules.json may place elsewhere. */
const OPTIONAL_FILES = [
  'config.json',
  'tokenizer_config.json',
  'sentence_bert_config.json',
  'config_sentence_transformers.json',
  'modules.json',
] as const;
const WEIGHTS_BYTES_MAX = 8 * 2 ** 30;
const JSON_BYTES_MAX = 64 * 2 ** 20;
const SHA256 = /^[0-9a-f]{64}$/;

/**
 * A sentence embedding model from the network: its files are downloaded, checked and imported as a local folder is.
 * Errors: INVALID_ARGUMENT (not an address that may be used), DOWNLOAD_FAILED (network; what was received is kept),
 * STATUS_CONFLICT (another process downloads the same), and those of `importLocalFolder`; INVALID_MODEL also names a
 * file that is not there, is too large or has another checksum.
 */
export async function importFromUrl(options: UrlImport): Promise<ModelFolder> {
  const location = resolveLocation(options.location);
  for (const [file, sha256] of Object.entries(options.sha256 ?? {})) {
    fileUrl(location.base, file);
    if (!SHA256.test(sha256)) {
      throw new SwitchyardError(
        'INVALID_ARGUMENT',
        `the SHA-256 of ${file} must be 64 hexadecimal digits, in lower case`,
      );
    }
  }
  const folder = path.join(options.cacheFolder, sha256Hex(location.base.href).slice(0, 32));
  await mkdir(options.cacheFolder, { recursive: true });
  return withFolderLock(folder, async () => {
    const { onnxFile, commit } = await downloadModel(options, location, folder);
    const {
      location: _location,
      cacheFolder,
      sha256,
      weightsBytesMax,
      onDownload,
      signal,
      env,
      ...stated
    } = options;
    const model = await importLocalFolder({
      ...stated,
      folder,
      onnxFile,
      source: `${location.describe(commit)} ${onnxFile}`,
    });
    await rm(folder, { recursive: true, force: true });
    return model;
  });
}

async function downloadModel(
  options: UrlImport,
  location: ResolvedLocation,
  folder: string,
): Promise<{ onnxFile: string; commit: string | undefined }> {
  const env = options.env ?? process.env;
  const token = env.HF_TOKEN;
  const client = new HttpClient({
    env,
    ...(options.signal ? { signal: options.signal } : {}),
    ...(token && location.tokenHost !== undefined
      ? { token: { host: location.tokenHost, value: token } }
      : {}),
  });
  try {
    const files = new ModelFiles(client, options, location, folder);
    await files.required(MODEL_FILES.tokenizer, JSON_BYTES_MAX);
    for (const name of OPTIONAL_FILES) await files.optional(name, JSON_BYTES_MAX);
    await files.optional(await poolingConfigFile(folder), JSON_BYTES_MAX);
    const weightsBytesMax = options.weightsBytesMax ?? WEIGHTS_BYTES_MAX;
    const onnxFile = await files.firstOf(
      options.onnxFile === undefined ? ONNX_CANDIDATES : [options.onnxFile],
      weightsBytesMax,
    );
    const onnxBytes = await readInputFile(path.join(folder, onnxFile));
    const { externalFiles } = inspectOnnx(onnxBytes, path.basename(onnxFile));
    for (const name of externalFiles) {
      await files.required(path.posix.join(path.posix.dirname(onnxFile), name), weightsBytesMax);
    }
    files.expectAllUsed();
    return { onnxFile, commit: files.commit };
  } finally {
    await client.close();
  }
}

/** The files of one location on their way into a folder. */
class ModelFiles {
  readonly #client: HttpClient;
  readonly #options: UrlImport;
  readonly #location: ResolvedLocation;
  readonly #folder: string;
  readonly #asked = new Set<string>();
  #commit: string | undefined;

  constructor(client: HttpClient, options: UrlImport, location: ResolvedLocation, folder: string) {
    this.#client = client;
    this.#options = options;
    this.#location = location;
    this.#folder = folder;
  }

  /** What the repository says its files are of. */
  get commit(): string | undefined {
    return this.#commit;
  }

  async required(name: string, bytesMax: number): Promise<void> {
    await this.firstOf([name], bytesMax);
  }

  /** Resolves to the name of the first file that is there. */
  async firstOf(names: readonly string[], bytesMax: number): Promise<string> {
    for (const name of names) if (await this.optional(name, bytesMax)) return name;
    throw new SwitchyardError(
      'INVALID_MODEL',
      `${this.#location.base.href} has no ${names.join(' and no ')}${names.length > 1 ? ': name the ONNX file' : ''}`,
      { details: { file: names.join(', ') } },
    );
  }

  /** Resolves to whether it is there; a copy of an earlier run that is not there any more is removed. */
  async optional(name: string, bytesMax: number): Promise<boolean> {
    const { sha256, signal, retryDelayMs, onDownload } = this.#options;
    const target = path.join(this.#folder, ...name.split('/'));
    this.#asked.add(name);
    const downloaded = await downloadFile(this.#client, {
      url: fileUrl(this.#location.base, name),
      target,
      name,
      bytesMax,
      sha256: sha256?.[name],
      signal,
      retryDelayMs,
      onBytes: (received, total) => onDownload?.(name, received, total),
    });
    if (downloaded.kind === 'missing') {
      await rm(target, { force: true });
      return false;
    }
    this.#expectCommit(downloaded.commit);
    return true;
  }

  /** A checksum for a file that is not part of the model is a mistake that would look like safety. */
  expectAllUsed(): void {
    for (const name of Object.keys(this.#options.sha256 ?? {})) {
      if (this.#asked.has(name)) continue;
      throw new SwitchyardError(
        'INVALID_ARGUMENT',
        `a SHA-256 is given for ${name}, which this model does not need`,
      );
    }
  }

  /** A branch may move between two files. */
  #expectCommit(commit: string | undefined): void {
    if (commit === undefined) return;
    this.#commit ??= commit;
    if (this.#commit === commit) return;
    throw new SwitchyardError(
      'DOWNLOAD_FAILED',
      `the revision moved from ${this.#commit} to ${commit} during the download: run it again, or name a commit`,
    );
  }
}
