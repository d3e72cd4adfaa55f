import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { SwitchyardError } from '../errors.js';
import { sha256Hex } from '../files/hash.js';
import { asDiskError, createTemporaryFolder, publishFolder, reapTemporaryFolders } from '../files/publish.js';
import { packageVersion } from '../package-root.js';
import type { Digest } from '../vocabulary.js';
import { BuildBlocks } from './build-blocks.js';
import { BuildInput } from './build-input.js';
import { acquireBuildLock, type BuildLock } from './build-lock.js';
import {
  type BuildBatch,
  type BuildOptions,
  type BuildPlan,
  planBuild,
  rescoreFactorOf,
} from './build-options.js';
import type { BuiltFiles } from './build-protocol.js';
import { BuildThread } from './build-thread.js';
import { bundleFolder } from './bundle-folder.js';
import { MANIFEST_FILE } from './file-names.js';
import type { Bundle, BundleManifest, ManifestSource } from './manifest.js';
import { readBundle } from './read-bundle.js';

/**
 * Streams rows into a bundle and publishes it at `<bundles>/<corpus>/<version>/<digest prefix>/`. The corpus's vectors
 * are on disk and, quantized, in the index; memory holds the index, two blocks of vectors, and the ids.
 *
 * Errors: INVALID_ARGUMENT, UNSUPPORTED_FORMAT, BUILD_LOCKED, DIMENSION_MISMATCH, NON_FINITE_VECTOR, ZERO_VECTOR,
 * INVALID_INPUT_FILE, TRUNCATION_LIMIT, DISK_FULL, INTERNAL; the signal's reason when it was aborted. After any of
 * them nothing is left behind.
 */
export async function buildBundle(options: BuildOptions, rows: AsyncIterable<BuildBatch>): Promise<Bundle> {
  const plan = planBuild(options);
  options.signal?.throwIfAborted();
  const versionFolder = path.resolve(options.bundlesFolder, options.corpus, options.version);
  try {
    await mkdir(versionFolder, { recursive: true });
    const lock = await acquireBuildLock(versionFolder);
    try {
      await reapTemporaryFolders(versionFolder);
      return await buildLocked(options, plan, rows, versionFolder, lock);
    } finally {
      await lock.release();
    }
  } catch (error) {
    throw asDiskError(error, versionFolder);
  }
}

async function buildLocked(
  options: BuildOptions,
  plan: BuildPlan,
  rows: AsyncIterable<BuildBatch>,
  versionFolder: string,
  lock: BuildLock,
): Promise<Bundle> {
  const temporary = await createTemporaryFolder(versionFolder);
  try {
    const input = new BuildInput(options, plan);
    const built = await writeFiles(options, plan, rows, temporary, input);
    options.signal?.throwIfAborted();
    const { sha256, watermark } = options.source;
    const source = {
      ...options.source,
      sha256: typeof sha256 === 'string' ? sha256 : await sha256(),
      watermark: typeof watermark === 'function' ? await watermark() : watermark,
    };
    const manifest = manifestOf(options, plan, input, built, source);
    const text = `${JSON.stringify(manifest, null, 2)}\n`;
    await writeFile(path.join(temporary, MANIFEST_FILE), text);
    options.onProgress?.({
      phase: 'publish',
      rowsDone: manifest.row_count,
      rowsTotal: manifest.row_count,
    });
    const final = bundleFolder(
      path.resolve(options.bundlesFolder),
      options.corpus,
      options.version,
      sha256Hex(text) as Digest,
    );
    await lock.assertHeld();
    await publishFolder(temporary, final);
    // The reader's own checks, once, while whoever builds is still there to hear of it.
    return await readBundle(final);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

async function writeFiles(
  options: BuildOptions,
  plan: BuildPlan,
  rows: AsyncIterable<BuildBatch>,
  folder: string,
  input: BuildInput,
): Promise<BuiltFiles> {
  const thread = new BuildThread(
    {
      folder,
      manifest: {
        dimensions: plan.dimensions,
        full_dimensions: plan.fullDimensions,
        metric: options.metric,
        quantization: plan.format.quantization,
        connectivity: plan.connectivity,
        expansion_add: plan.expansionAdd,
        expansion_search: plan.expansionSearch,
        ...rescoreFactorOf(options),
      },
      threads: plan.threads,
      recall: plan.recall,
      storeDocuments: options.storeDocuments,
      storeProvenance: options.storeProvenance ?? false,
    },
    (phase, rowsDone) => options.onProgress?.({ phase, rowsDone, rowsTotal: input.ids.rowCount }),
  );
  try {
    let linkedCount: number | null = null;
    const blocks = new BuildBlocks(plan.fullDimensions, options, (block) =>
      thread.add({ ...block, isDeferred: linkedCount !== null }),
    );
    for await (const batch of abortable(rows, options.signal)) {
      input.checkShape(batch);
      if (batch.removed !== undefined) {
        // What comes from here on may take the places of rows that are taken out, so it is linked in at the end.
        if (linkedCount === null) await blocks.flush();
        linkedCount ??= input.ids.rowCount;
        input.remove(batch.removed);
      }
      for (let i = 0; i < batch.rows.length; i++) {
        const isNewDocument = input.accept(batch, i);
        const full = blocks.append(batch, i, isNewDocument);
        if (full) await blocks.flush();
        options.signal?.throwIfAborted();
      }
    }
    const compaction = input.finish(options.truncatedShareMax);
    await blocks.flush();
    const finished = thread.finish({
      kind: 'finish',
      rowCount: input.ids.rowCount,
      documentCount: input.ids.documentCount,
      ids: input.ids.pieces(),
      documentOffsets: blocks.documentOffsets(),
      linkedCount: linkedCount ?? input.ids.rowCount,
      compaction,
    });
    return await abortableWait(finished, options.signal);
  } catch (error) {
    await thread.stop();
    throw error;
  }
}

function manifestOf(
  options: BuildOptions,
  plan: BuildPlan,
  input: BuildInput,
  built: BuiltFiles,
  source: ManifestSource,
): BundleManifest {
  if (!/^[0-9a-f]{64}$/.test(source.sha256))
    throw new SwitchyardError('INVALID_ARGUMENT', 'source.sha256 must be 64 lower-case hex digits');
  const { name, version, fingerprint } = options.model;
  return {
    format_version: 1,
    corpus: options.corpus,
    version: options.version,
    model: { name, version, fingerprint },
    dimensions: plan.dimensions,
    full_dimensions: plan.fullDimensions,
    metric: options.metric,
    quantization: plan.format.quantization,
    connectivity: plan.connectivity,
    expansion_add: plan.expansionAdd,
    expansion_search: plan.expansionSearch,
    ...rescoreFactorOf(options),
    row_count: input.ids.rowCount,
    document_count: input.ids.documentCount,
    ...(options.chunking === undefined ? {} : { chunking: options.chunking }),
    truncated_count: options.truncatedCount ?? input.truncatedCount,
    document_template: options.documentTemplate,
    text_normalisation: options.textNormalisation,
    builder: options.builder ?? `switchyard@${packageVersion()}`,
    usearch: usearchVersion(),
    files: Object.fromEntries(Object.entries(built.files).sort(([a], [b]) => (a < b ? -1 : 1))),
    recall_at_10: {
      value: built.recall.value,
      sample_count: built.recall.sampleCount,
      seed: plan.recall.seed,
    },
    unreachable_count: built.unreachableCount,
    source,
  };
}

function usearchVersion(): string {
  const resolved = createRequire(import.meta.url).resolve('usearch');
  const root = resolved.slice(0, resolved.lastIndexOf(`${path.sep}javascript${path.sep}`));
  const { version } = createRequire(import.meta.url)(path.join(root, 'package.json')) as { version: string };
  return version;
}

/** Stops waiting for the next batch as soon as the signal fires; a reader that hangs cannot hold the build. */
async function* abortable<T>(source: AsyncIterable<T>, signal: AbortSignal | undefined): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  let ended = false;
  try {
    for (;;) {
      const next = await abortableWait(iterator.next(), signal);
      if (next.done === true) {
        ended = true;
        return;
      }
      yield next.value;
    }
  } finally {
    // Not awaited: an async generator answers only after the next() that is still out.
    if (!ended) iterator.return?.().catch(() => undefined);
  }
}

async function abortableWait<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await promise;
  let onAbort: () => void = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
