/**
 * What a supervised child gets of its parent's environment: what libraries and locales need, and nothing that
 * could hold a credential (DATABASE_URL, REDIS_URL, API keys stay in the gateway).
 */
const NAMES: readonly string[] = [
  'PATH',
  'HOME',
  'TMPDIR',
  'LANG',
  'LC_ALL',
  'TZ',
  'LD_LIBRARY_PATH',
  'DYLD_LIBRARY_PATH',
  // Which GPU, and where its driver lies.
  'CUDA_VISIBLE_DEVICES',
  'CUDA_HOME',
  'CUDA_PATH',
  'NVIDIA_VISIBLE_DEVICES',
  'NVIDIA_DRIVER_CAPABILITIES',
  'VK_DRIVER_FILES',
  'VK_ICD_FILENAMES',
  'XDG_RUNTIME_DIR',
];

/**
 * What every child gets besides. The ONNX runtime's Linux builds report usage to its makers unless told not to: events
 * and an identifier of this machine, under the user's cache folder and over the network.
 */
const FIXED: Readonly<Record<string, string>> = { ORT_DISABLE_TELEMETRY: '1' };

export function childEnv(parent: Readonly<NodeJS.ProcessEnv>): Readonly<Record<string, string>> {
  const env: Record<string, string> = { ...FIXED };
  for (const name of NAMES) {
    const value = parent[name];
    if (value !== undefined) env[name] = value;
  }
  return Object.freeze(env);
}
