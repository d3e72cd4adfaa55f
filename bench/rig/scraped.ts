/** Samples of a gateway's `/metrics` by name and labels, e.g. `switchyard_mirrors_total{…}`. */
export async function scrape(admin: string): Promise<ReadonlyMap<string, number>> {
  const response = await fetch(new URL('/metrics', admin));
  if (!response.ok) throw new Error(`/metrics answered ${response.status}`);
  const samples = new Map<string, number>();
  for (const line of (await response.text()).split('\n')) {
    const blank = line.lastIndexOf(' ');
    if (line.startsWith('#') || blank < 0) continue;
    samples.set(line.slice(0, blank), Number(line.slice(blank + 1)));
  }
  return samples;
}

/** Sum of the samples of one metric whose labels hold `label`, e.g. `outcome="compared"`. */
export function total(samples: ReadonlyMap<string, number>, name: string, label = ''): number {
  let sum = 0;
  for (const [sample, value] of samples)
    if ((sample === name || sample.startsWith(`${name}{`)) && sample.includes(label)) sum += value;
  return sum;
}
