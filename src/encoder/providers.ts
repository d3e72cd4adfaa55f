import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { listSupportedBackends } from 'onnxruntime-node';
import { type Device, deviceIdOf, type ExecutionProvider, providerOf } from '../vocabulary.js';

/** The CUDA provider's libraries, which the ONNX runtime's npm package does not carry. */
const CUDA_LIBRARIES = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'] as const;

/**
 * What stands against a provider before a session is opened on it: for a person, with what to do about it.
 * null: nothing that can be seen from here; whether it works, a session and the probes show.
 */
export function providerProblem(device: Device): string | null {
  const provider: ExecutionProvider = providerOf(device);
  switch (provider) {
    case 'cpu':
      return null;
    case 'webgpu':
      return isInRuntime('webgpu')
        ? null
        : `the ONNX runtime for ${process.platform}/${process.arch} has no webgpu provider; use cpu`;
    case 'cuda':
      return cudaProblem(deviceIdOf(device));
    default:
      return provider satisfies never;
  }
}

/**
 * Whether this process has really loaded a provider's libraries: the runtime gives work to the CPU when a provider
 * takes none, and says nothing. Known on Linux; elsewhere the session's word is all there is.
 */
export function isProviderLoaded(device: Device): boolean {
  if (providerOf(device) !== 'cuda' || process.platform !== 'linux') return true;
  const maps = readFileSync('/proc/self/maps', 'utf8');
  return maps.includes('libonnxruntime_providers_cuda.so') && maps.includes('libcuda.so');
}

/** The one command that adds CUDA; it works with install scripts switched off. */
export function cudaInstallCommand(): string {
  const script = path.join(path.relative(process.cwd(), runtimeFolder()), 'script', 'install.js');
  return `node ${script} --onnxruntime-node-install-cuda=v12`;
}

function cudaProblem(deviceId: number): string | null {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `the cuda provider exists for linux/x64 alone, this is ${process.platform}/${process.arch}; use cpu`;
  const folder = path.join(runtimeFolder(), 'bin', 'napi-v6', process.platform, process.arch);
  const missing = CUDA_LIBRARIES.filter((library) => !existsSync(path.join(folder, library)));
  if (missing.length > 0)
    return `${missing.join(' and ')} are not installed; run "${cudaInstallCommand()}" on a machine that reaches the internet (CUDA 12 and cuDNN 9 must be installed too; for CUDA 13 see "A GPU" in docs/operations.md), or use cpu`;
  if (!existsSync('/proc/driver/nvidia/version') && !existsSync('/dev/nvidiactl') && !existsSync('/dev/dxg'))
    return 'there is no NVIDIA driver on this machine; install it (in a container: start it with its GPUs), or use cpu';
  const gpus = visibleGpus();
  if (gpus !== null && deviceId >= gpus)
    return `cuda:${deviceId} does not exist: this process sees ${gpus} GPUs, numbered from 0; name one of them, or use cpu`;
  return null;
}

/** GPUs that CUDA numbers for this process; null when that cannot be seen from here. */
function visibleGpus(): number | null {
  const named = process.env.CUDA_VISIBLE_DEVICES;
  if (named !== undefined) return named.split(',').filter((part) => part.trim() !== '').length;
  const folder = '/proc/driver/nvidia/gpus';
  return existsSync(folder) ? readdirSync(folder).length : null;
}

const isInRuntime = (backend: string): boolean =>
  listSupportedBackends().some(({ name }) => name === backend);

/** `node_modules/onnxruntime-node`, wherever it is installed. */
function runtimeFolder(): string {
  const entry = createRequire(import.meta.url).resolve('onnxruntime-node');
  return path.dirname(path.dirname(entry));
}
