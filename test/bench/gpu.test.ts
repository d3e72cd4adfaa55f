import { execFile } from 'node:child_process';
import { cp, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { gpuTexts, measureDevice } from '../../bench/gpu/measure-device.js';
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

t.test('every batch size is measured on three sides', async (t) => {
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
    [1, 4].map((batch) => ({ texts: batch, tokens: 32, ratio: Number })),
  );
  for (const row of rows)
    for (const [name, value] of Object.entries(row)) if (name !== 'device') t.ok(Number(value) > 0, name);
});
