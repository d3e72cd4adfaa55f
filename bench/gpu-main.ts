import path from 'node:path';
import { parseArgs } from 'node:util';
import type { ModelFolder } from '../src/encoder/manifest.js';
import { listModelFolders, readModelFolder } from '../src/encoder/model-folder.js';
import { startProcessEncoder } from '../src/encoder/process-encoder.js';
import type { ProcessEncoder } from '../src/encoder/process-encoder-options.js';
import { packageRoot } from '../src/package-root.js';
import { type Device, isDevice, modelRef } from '../src/vocabulary.js';
import { deviceProblem, gpuNames } from './gpu/ask-device.js';
import { CPU_THREADS, gpuTexts, measureDevice } from './gpu/measure-device.js';
import { inputHash, surroundings } from './report.js';

/** Tried in this order when none is named. */
const DEVICES: readonly Device[] = ['cuda:0', 'webgpu'];
/** Weights that accelerators compute with as they are; int8 graphs fall back to the CPU node by node. */
const PRECISIONS = ['fp16', 'fp32'];

const say = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    smoke: { type: 'boolean', default: false },
    seed: { type: 'string', default: '1' },
    device: { type: 'string', multiple: true, default: [...DEVICES] },
    model: { type: 'string' },
  },
});

const devices = options.device.filter(isDevice);
if (devices.length !== options.device.length || devices.includes('cpu')) {
  say(`--device ${options.device.join(' ')}: must be webgpu, cuda or cuda:N`);
  process.exit(1);
}
const size = options.smoke ? 'smoke' : 'full';
const seed = Number(options.seed);
const refusals: string[] = [];
const there: Device[] = [];
// Before anything else is wanted: without a device there is nothing that a model could be missing for.
for (const device of devices) {
  const problem = await deviceProblem(device);
  if (problem === null) there.push(device);
  else refusals.push(`${device}: ${problem}`);
}
if (there.length === 0) noFigure();
const model = await findModel(options.model);
const texts = await gpuTexts(model, seed);
const results: Record<string, number | string>[] = [];
for (const device of there) {
  const encoder = await openOn(device);
  if (encoder === null) continue;
  const cpu = await openOn('cpu');
  if (cpu === null) throw new Error(`the CPU does not run ${modelRef(model.manifest)}: ${refusals.at(-1)}`);
  try {
    results.push(...(await measureDevice({ device, encoder, cpu, model, texts, size })));
  } finally {
    await Promise.all([encoder.close(), cpu.close()]);
  }
}
if (results.length === 0) noFigure();
const report = {
  bench: 'gpu',
  size,
  seed,
  input: inputHash(texts.map(({ text }) => text).join('\n')),
  model: modelRef(model.manifest),
  surroundings: { ...surroundings(), gpus: gpuNames() },
  results,
};
if (options.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
else {
  const { machine, versions, gpus } = report.surroundings;
  process.stdout.write(`gpu (${size}, seed ${seed}, input ${report.input}), ${report.model}, ${machine}\n`);
  process.stdout.write(`GPUs: ${gpus.join(', ') || 'none that the NVIDIA driver lists'}\n`);
  process.stdout.write(`${JSON.stringify(versions)}\n`);
  for (const refusal of refusals) process.stdout.write(`not measured: ${refusal}\n`);
  console.table(results);
}

function noFigure(): never {
  say(`no accelerator can be had here, so there is no figure: ${refusals.join('; ')}`);
  process.exit(0);
}

async function findModel(given: string | undefined): Promise<ModelFolder> {
  if (given !== undefined) return readModelFolder(path.resolve(given));
  const folder = path.join(packageRoot(), 'var', 'bench', 'models');
  for (const { manifest } of await listModelFolders(folder))
    if (PRECISIONS.includes(manifest.precision))
      return readModelFolder(path.join(folder, manifest.fingerprint));
  throw new Error(
    `${folder} holds no ${PRECISIONS.join(' or ')} model: make one with "npm run bench -- expansion --smoke" and carry it, or name one with --model`,
  );
}

/** null, with the reason noted, where the device cannot be had: it is never replaced by another. */
async function openOn(device: Device): Promise<ProcessEncoder | null> {
  const encoder = startProcessEncoder({
    folder: model,
    providers: [device],
    require: true,
    threads: CPU_THREADS,
    batchTokensMax: 4096,
    queueLengthMax: { live: 4096, shadow: 1, bulk: 1 },
    textBytesMax: 65_536,
    startTimeoutMs: 300_000,
    silentMsMax: 120_000,
    log: () => undefined,
  });
  try {
    await encoder.ready();
    return encoder;
  } catch (error) {
    refusals.push(`${device}: ${error instanceof Error ? error.message : String(error)}`);
    await encoder.close();
    return null;
  }
}
