import { execFile } from 'node:child_process';
import { cp, mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { deviceProblem, gpuNames } from '../../bench/gpu/ask-device.js';
import { gpuTexts, measureDevice } from '../../bench/gpu/measure-device.js';
import { PROBE_GRAPH } from '../../bench/gpu/probe-graph.js';
import { OnnxGraphBuilder } from '../../src/encoder/import/onnx-graph.js';
import { packageRoot } from '../../src/package-root.js';
import { startEncoder } from '../encoder-process/start.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { miniLmFolder } from '../fixtures/model.js';
import { tinyModelFolder } from '../fixtures/tiny-model.js';

/** What bench/README.md says must be carried, beside Node and a model. */
const CARRIED = [
  'package.json',
  'bench/gpu.sh',
  'dist/bench',
  'dist/src',
  'node_modules/@huggingface/tokenizers',
  'node_modules/@sinclair/typebox',
  'node_modules/onnxruntime-common',
  'node_modules/onnxruntime-node/package.json',
  'node_modules/onnxruntime-node/dist',
  'node_modules/onnxruntime-node/script',
  `node_modules/onnxruntime-node/bin/napi-v6/${process.platform}/${process.arch}`,
];

t.test(
  'bench/gpu.sh runs from what is carried alone, and gives a figure or says that it has none',
  async (t) => {
    const folder = await temporaryFolder(t);
    for (const name of CARRIED) {
      await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
      await cp(path.join(packageRoot(), name), path.join(folder, name), {
        recursive: true,
        dereference: true,
      });
    }
    const { folder: model } = await miniLmFolder('fp16');
    const { stdout, stderr } = await promisify(execFile)(
      path.join(folder, 'bench', 'gpu.sh'),
      ['--smoke', '--json', '--model', model],
      { cwd: '/', env: { PATH: `${path.dirname(process.execPath)}:/usr/bin:/bin` } },
    );
    if (stdout === '')
      t.match(stderr, /no accelerator can be had here, so there is no figure: cuda:0: .*; webgpu: /);
    else t.match(JSON.parse(stdout), { bench: 'gpu', results: [{ texts: 1, ratio: Number }] });
  },
);

t.test(
  'devices are asked for before anything else is wanted, so an empty var folder is no failure',
  async (t) => {
    const folder = await temporaryFolder(t);
    await mkdir(path.join(folder, 'bench'));
    await cp(path.join(packageRoot(), 'bench', 'gpu.sh'), path.join(folder, 'bench', 'gpu.sh'));
    await cp(path.join(packageRoot(), 'package.json'), path.join(folder, 'package.json'));
    for (const name of ['dist/bench', 'dist/src'])
      await cp(path.join(packageRoot(), name), path.join(folder, name), { recursive: true });
    await symlink(path.join(packageRoot(), 'node_modules'), path.join(folder, 'node_modules'));
    // CUDA sees no GPU, whatever there is; webgpu is not asked for.
    const { stdout, stderr } = await promisify(execFile)(
      path.join(folder, 'bench', 'gpu.sh'),
      ['--json', '--device', 'cuda:0'],
      { env: { PATH: `${path.dirname(process.execPath)}:/usr/bin:/bin`, CUDA_VISIBLE_DEVICES: '' } },
    );
    t.equal(stdout, '', 'no figure');
    t.match(stderr, /no accelerator can be had here, so there is no figure: cuda:0: \S/);
  },
);

t.test('a device is asked with a graph of one node, and says why not where it cannot be had', async (t) => {
  const graph = new OnnxGraphBuilder('probe');
  const x = graph.input('x', 'float32', [4]);
  graph.output('y', graph.node('Add', 'sum', [x, x]), 'float32', [4]);
  t.same(Buffer.from(PROBE_GRAPH), Buffer.from(graph.encode()), 'the graph is what the builder writes');
  t.equal(await deviceProblem('cpu'), null, 'the CPU can always be had');
  t.match(await deviceProblem('cuda:99'), /cuda|CUDA|NVIDIA/);
});

t.test('GPUs are named as their driver lists them', async (t) => {
  const folder = await temporaryFolder(t);
  t.same(gpuNames(path.join(folder, 'none')), []);
  for (const [gpu, information] of [
    ['0000:3b:00.0', 'Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 123\n'],
    ['0000:5e:00.0', 'IRQ: 1\n'],
  ] as const) {
    await mkdir(path.join(folder, gpu));
    await writeFile(path.join(folder, gpu, 'information'), information);
  }
  t.same(gpuNames(folder), ['NVIDIA H100 80GB HBM3', 'unnamed (0000:5e:00.0)']);
});

t.test('what is not carried, and a device that is none, are refused by name', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(path.join(folder, 'bench'));
  await cp(path.join(packageRoot(), 'bench', 'gpu.sh'), path.join(folder, 'bench', 'gpu.sh'));
  const run = promisify(execFile);
  await t.rejects(run(path.join(folder, 'bench', 'gpu.sh')), {
    code: 1,
    stderr: /not here: dist\/bench\/gpu-main\.js node_modules\/onnxruntime-node/,
  });
  await t.rejects(run(path.join(packageRoot(), 'bench', 'gpu.sh'), ['--device', 'cpu']), {
    code: 1,
    stderr: /must be webgpu, cuda or cuda:N/,
  });
});

t.test('every batch size and number of callers is measured on three sides', async (t) => {
  const model = await tinyModelFolder(t);
  const texts = await gpuTexts(model, 1);
  t.ok(texts.every(({ tokens }) => tokens.ids.length === 32));
  t.same(await gpuTexts(model, 1), texts, 'the same seed gives the same texts');
  const [{ encoder }, { encoder: cpu }] = [startEncoder(t, model), startEncoder(t, model)];
  await Promise.all([encoder.ready(), cpu.ready()]);
  // The CPU stands for the device: what is shown is that all three sides run, not how fast.
  const rows = await measureDevice({ device: 'cpu', encoder, cpu, model, texts, size: 'smoke' });
  t.match(
    rows,
    [
      [1, 1],
      [4, 1],
      [1, 4],
    ].map(([batch, callers]) => ({
      texts: batch,
      in_flight: callers,
      cpu_threads: 1,
      tokens: 32,
      ratio: Number,
      cosine_min: 1,
    })),
  );
  for (const row of rows)
    for (const [name, value] of Object.entries(row)) if (name !== 'device') t.ok(Number(value) > 0, name);
});
