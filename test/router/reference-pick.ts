import { createHash } from 'node:crypto';

/** Weights in basis points by identity. */
export interface Weights {
  readonly [identity: string]: number;
}

/** docs/decisions/0051-weighted-pick.md read again, in BigInt and with nothing of the product's code. */
export function referencePick(weights: Weights, salt: string, key: string): string | null {
  const mask = (1n << 64n) - 1n;
  const first64 = (data: string) => createHash('sha256').update(data).digest().readBigUInt64BE(0);
  const keyHash = first64(`${salt}\u0000${key}`);
  let best: { identity: string; score: bigint; weight: bigint } | null = null;
  for (const identity of Object.keys(weights).sort()) {
    const weight = BigInt(weights[identity] as number);
    if (weight === 0n) continue;
    let z = keyHash ^ first64(identity);
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
    z ^= z >> 31n;
    const u = (Number(z >> 12n) + 0.5) / 2 ** 52;
    const score = BigInt(Math.floor(-Math.log(u) * 2 ** 32));
    if (best === null || score * best.weight < best.score * weight) best = { identity, score, weight };
  }
  return best?.identity ?? null;
}
