import { once } from 'node:events';
import { openAsBlob } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { tableFromIPC } from 'apache-arrow';
import { errorToFrame, SwitchyardError } from '../../errors.js';
import { sha256Hex } from '../../files/hash.js';
import type { BuildBatch, BuildRow } from '../../index/build-options.js';
import { readBundle } from '../../index/read-bundle.js';
import { storedRows } from '../../index/stored-rows.js';
import { packageVersion } from '../../package-root.js';
import { corruptArchive, rowsFileName } from './archive-manifest.js';
import type { ArchiveJob, ArchiveThreadData, FromArchiveThread } from './archive-protocol.js';
import { rowsToIpc, tableToRows } from './archived-rows.js';
import { BundleFiles } from './bundle-files.js';

/** Two row groups a file: a reader by ranges takes few bytes, and a writer holds few. */
const ROWS_PER_GROUP = 10_240;
const ROWS_PER_FILE = 2 * ROWS_PER_GROUP;
const ROWS_PER_READ = 2_048;

class Stopped extends Error {}

const { job, cancel } = workerData as ArchiveThreadData;
const cancelled = new Int32Array(cancel);
const send = (message: FromArchiveThread): void => parentPort?.postMessage(message);
const assertGoesOn = (): void => {
  if (Atomics.load(cancelled, 0) !== 0) throw new Stopped();
};

async function write({ bundleFolder, folder }: Extract<ArchiveJob, { kind: 'write' }>): Promise<void> {
  const bundle = await readBundle(bundleFolder);
  const dimensions = bundle.manifest.full_dimensions;
  let part = 0;
  let rowsDone = 0;
  for await (const batch of regrouped(storedRows(bundle), dimensions)) {
    assertGoesOn();
    const bytes = await toParquet(batch, dimensions);
    const name = rowsFileName(part++);
    await writeFile(path.join(folder, name), bytes, { flag: 'wx' });
    send({ kind: 'file', name, bytes: bytes.length, sha256: sha256Hex(bytes), rows: batch.rows.length });
    if (parentPort !== null) await once(parentPort, 'message');
    rowsDone += batch.rows.length;
    send({ kind: 'progress', rowsDone });
  }
}

async function* regrouped(
  batches: AsyncIterable<BuildBatch>,
  dimensions: number,
): AsyncGenerator<BuildBatch> {
  let rows: BuildRow[] = [];
  let vectors = new Float32Array(ROWS_PER_FILE * dimensions);
  for await (const batch of batches) {
    assertGoesOn();
    for (let at = 0; at < batch.rows.length; at++) {
      vectors.set(batch.vectors.subarray(at * dimensions, (at + 1) * dimensions), rows.length * dimensions);
      rows.push(batch.rows[at] as BuildRow);
      if (rows.length < ROWS_PER_FILE) continue;
      yield { rows, vectors };
      rows = [];
      vectors = new Float32Array(ROWS_PER_FILE * dimensions);
    }
  }
  if (rows.length > 0) yield { rows, vectors: vectors.slice(0, rows.length * dimensions) };
}

async function toParquet(batch: BuildBatch, dimensions: number): Promise<Uint8Array> {
  const { Compression, Table, WriterPropertiesBuilder, writeParquet } = await import('parquet-wasm');
  const properties = new WriterPropertiesBuilder()
    .setCompression(Compression.SNAPPY)
    .setMaxRowGroupSize(ROWS_PER_GROUP)
    .setCreatedBy(`switchyard@${packageVersion()}`)
    .build();
  return writeParquet(Table.fromIPCStream(rowsToIpc(batch, dimensions)), properties);
}

async function restore(given: Extract<ArchiveJob, { kind: 'restore' }>): Promise<void> {
  const { manifest, folder } = given;
  const files = new BundleFiles(folder, manifest);
  let rowsDone = 0;
  for (const part of given.parts) {
    for await (const batch of archivedBatches(given.archiveFolder, part, manifest.full_dimensions)) {
      assertGoesOn();
      await files.add(batch);
      rowsDone += batch.rows.length;
      send({ kind: 'progress', rowsDone });
    }
  }
  await files.finish();
}

async function* archivedBatches(
  folder: string,
  part: string,
  dimensions: number,
): AsyncGenerator<BuildBatch> {
  const { ParquetFile } = await import('parquet-wasm');
  try {
    const opened = await ParquetFile.fromFile(await openAsBlob(path.join(folder, part)));
    for await (const batch of await opened.stream({ batchSize: ROWS_PER_READ }))
      yield tableToRows(tableFromIPC((batch as { intoIPCStream(): Uint8Array }).intoIPCStream()), dimensions);
  } catch (error) {
    if (error instanceof Stopped || error instanceof SwitchyardError) throw error;
    throw corruptArchive(path.basename(folder), part, 'it is not what an archive holds', error);
  }
}

async function run(): Promise<FromArchiveThread> {
  try {
    if (job.kind === 'write') await write(job);
    else await restore(job);
    return { kind: 'finished' };
  } catch (error) {
    return error instanceof Stopped ? { kind: 'stopped' } : { kind: 'failed', error: errorToFrame(error) };
  }
}

if (parentPort !== null) {
  send(await run());
  parentPort.close();
}
