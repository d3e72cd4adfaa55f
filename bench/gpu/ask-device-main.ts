import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Tensor } from 'onnxruntime-node';
import { isProviderLoaded } from '../../src/encoder/providers.js';
import { openGraph } from '../../src/encoder/session.js';
import { type Device, isDevice } from '../../src/vocabulary.js';
import type { AskedDevice } from './ask-device.js';
import { PROBE_GRAPH } from './probe-graph.js';

/** Entry of the process that opens one device: `node ask-device-main.js cuda:0`, forked by `deviceProblem` alone. */
const tell = (problem: string | null): void => {
  process.send?.({ problem } satisfies AskedDevice);
};

async function problemOf(device: Device): Promise<string | null> {
  const folder = await mkdtemp(path.join(tmpdir(), 'switchyard-device-'));
  try {
    const file = path.join(folder, 'probe.onnx');
    await writeFile(file, PROBE_GRAPH);
    const session = await openGraph(file, { provider: device, threads: 1 });
    const { y } = await session.run({ x: new Tensor('float32', Float32Array.of(1, 2, 3, 4), [4]) });
    await session.release();
    if (String(y?.data) !== '2,4,6,8') return `it computed ${String(y?.data)} in place of 2,4,6,8`;
    return isProviderLoaded(device) ? null : 'the runtime gave its work to another provider';
  } catch (error) {
    const { message, cause } = error as Error;
    return cause instanceof Error ? `${message} (${cause.message})` : message;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const device = process.argv[2] ?? '';
if (isDevice(device)) {
  tell(await problemOf(device));
  process.disconnect?.();
}
