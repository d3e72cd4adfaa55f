import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

/** The part of V8's CPU profile that is read here. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string };
  }[];
  readonly samples: readonly number[];
  /** µs between a sample and the one before. */
  readonly timeDeltas: readonly number[];
}

const GROUPS: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['grpc-js', /@grpc\/grpc-js/],
  ['other packages', /node_modules/],
  ['src/gateway', /dist\/src\/gateway/],
  ['src/router', /dist\/src\/router/],
  ['src/index', /dist\/src\/index/],
  ['src, the rest', /dist\/src\//],
  ['node: http2', /^node:internal\/http2/],
  ['node: streams, events, timers and the rest', /^node:/],
];
const NATIVE = 'native calls (sockets, messages to workers)';

export interface ProfileShare {
  readonly part: string;
  /** Of the time in which the main thread was not idle. */
  readonly share: number;
}

/** Where the main thread of a process spent its time in the last `seconds` before it ended, by the code that ran. */
export async function mainThreadShares(folder: string, seconds: number): Promise<readonly ProfileShare[]> {
  // Threads have files of their own; the main thread is number 0.
  const name = (await readdir(folder)).find((file) => /\.0\.\d+\.cpuprofile$/.test(file));
  if (name === undefined) throw new Error(`there is no profile of a main thread in ${folder}`);
  const profile = JSON.parse(await readFile(path.join(folder, name), 'utf8')) as CpuProfile;
  const groups = new Map(profile.nodes.map(({ id, callFrame }) => [id, groupOf(callFrame)]));
  const spentUs = new Map<string, number>();
  let fromEndUs = 0;
  for (let at = profile.samples.length - 1; at >= 0 && fromEndUs < seconds * 1e6; at--) {
    const tookUs = profile.timeDeltas[at] as number;
    fromEndUs += tookUs;
    const group = groups.get(profile.samples[at] as number) ?? null;
    if (group !== null) spentUs.set(group, (spentUs.get(group) ?? 0) + tookUs);
  }
  const busyUs = [...spentUs.values()].reduce((sum, us) => sum + us, 0);
  return [...spentUs].map(([part, us]) => ({ part, share: us / busyUs })).sort((a, b) => b.share - a.share);
}

/** Null: idle. */
function groupOf({
  functionName,
  url,
}: {
  readonly functionName: string;
  readonly url: string;
}): string | null {
  if (functionName === '(idle)') return null;
  if (functionName === '(garbage collector)') return 'garbage collection';
  if (functionName === '(program)') return 'outside JavaScript (the event loop, HTTP/2 in C++)';
  for (const [name, pattern] of GROUPS) if (pattern.test(url)) return name;
  return NATIVE;
}
