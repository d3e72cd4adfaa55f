import { hash } from 'node:crypto';
import { WEIGHT_TOTAL_BPS } from '../vocabulary.js';

/**
 * Weighted choice of a target. docs/decisions/0051-weighted-pick.md specifies the keyed pick so that another
 * implementation can match it bit for bit:
 *
 *   key hash K    = first 64 bits (big-endian) of SHA-256(salt + U+0000 + affinity key), UTF-8
 *   target hash T = first 64 bits (big-endian) of SHA-256(identity), UTF-8; the identity is the build digest
 *   H  = splitmix64 finaliser of (K xor T)
 *   u  = (top 52 bits of H + 0.5) / 2^52, a number strictly between 0 and 1
 *   S  = floor(−ln(u) × 2^32), an integer below 2^38
 *   The target with the least S / weight wins; of equal ones the least identity.
 *
 * S / weight is exponentially distributed with rate `weight`, so each target wins with probability weight / sum.
 * Fractions are compared by cross-multiplication of integers below 2^53: no rounding, so a key moves only to a
 * target whose share rose relative to the one it leaves, without exception.
 */
export interface PickEntry<T> {
  readonly item: T;
  readonly weight: number;
  readonly hashHigh: number;
  readonly hashLow: number;
}

/** Entries with a weight, in order of identity; compiled once per route snapshot. */
export interface PickTable<T> {
  readonly entries: readonly PickEntry<T>[];
  readonly weightTotal: number;
}

export interface Weighted<T> {
  readonly item: T;
  /** Unique in a table. */
  readonly identity: string;
  /** Basis points, 0..10 000. 0 is never picked. */
  readonly weight: number;
}

const SCORE_SCALE = 2 ** 32;
const UNIT_52 = 2 ** -52;

export function compilePickTable<T>(items: readonly Weighted<T>[]): PickTable<T> {
  const weighted = items
    .filter(({ weight }) => weight !== 0)
    .sort((a, b) => (a.identity < b.identity ? -1 : a.identity > b.identity ? 1 : 0));
  let weightTotal = 0;
  for (const { weight } of weighted) {
    if (!Number.isInteger(weight) || weight < 0 || weight > WEIGHT_TOTAL_BPS)
      throw new RangeError(`weight ${weight} must be an integer from 0 to ${WEIGHT_TOTAL_BPS}`);
    weightTotal += weight;
  }
  return Object.freeze({
    entries: Object.freeze(
      weighted.map(({ item, identity, weight }) => {
        const digest = hash('sha256', identity, 'hex');
        return Object.freeze({ item, weight, hashHigh: word(digest, 0), hashLow: word(digest, 8) });
      }),
    ),
    weightTotal,
  });
}

/** The same key meets the same target as long as the table's shares and the salt stay. Null: an empty table. */
export function pickByKey<T>(table: PickTable<T>, salt: string, affinityKey: string): T | null {
  const { entries } = table;
  if (entries.length <= 1) return entries[0]?.item ?? null;
  const digest = hash('sha256', `${salt}\0${affinityKey}`, 'hex');
  const keyHigh = word(digest, 0);
  const keyLow = word(digest, 8);
  let best: PickEntry<T> | null = null;
  let bestScore = 0;
  for (const entry of entries) {
    const score = scoreOf(keyHigh ^ entry.hashHigh, keyLow ^ entry.hashLow);
    if (best === null || score * best.weight < bestScore * entry.weight) {
      best = entry;
      bestScore = score;
    }
  }
  return best?.item ?? null;
}

/** `random` gives numbers in [0, 1). Null: an empty table. */
export function pickAtRandom<T>(table: PickTable<T>, random: () => number): T | null {
  const { entries } = table;
  if (entries.length <= 1) return entries[0]?.item ?? null;
  let rest = random() * table.weightTotal;
  for (const entry of entries) {
    rest -= entry.weight;
    if (rest < 0) return entry.item;
  }
  return entries[entries.length - 1]?.item ?? null;
}

const word = (hex: string, at: number): number => Number.parseInt(hex.slice(at, at + 8), 16);

/** S of the head comment for the 64 bits `high`, `low`. In 32-bit halves: BigInt would cost forty times as much. */
function scoreOf(high: number, low: number): number {
  let hi = high >>> 0;
  let lo = low >>> 0;
  // z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9
  lo = (lo ^ ((lo >>> 30) | (hi << 2))) >>> 0;
  hi = (hi ^ (hi >>> 30)) >>> 0;
  hi = (multiplyHigh(lo, 0x1ce4e5b9) + Math.imul(lo, 0xbf58476d) + Math.imul(hi, 0x1ce4e5b9)) >>> 0;
  lo = Math.imul(lo, 0x1ce4e5b9) >>> 0;
  // z = (z ^ z >> 27) * 0x94d049bb133111eb
  lo = (lo ^ ((lo >>> 27) | (hi << 5))) >>> 0;
  hi = (hi ^ (hi >>> 27)) >>> 0;
  hi = (multiplyHigh(lo, 0x133111eb) + Math.imul(lo, 0x94d049bb) + Math.imul(hi, 0x133111eb)) >>> 0;
  lo = Math.imul(lo, 0x133111eb) >>> 0;
  // z ^= z >> 31
  lo = (lo ^ ((lo >>> 31) | (hi << 1))) >>> 0;
  hi = (hi ^ (hi >>> 31)) >>> 0;
  const top52 = hi * 2 ** 20 + (lo >>> 12);
  return Math.floor(-Math.log((top52 + 0.5) * UNIT_52) * SCORE_SCALE);
}

/** Upper 32 bits of the product of two unsigned 32-bit numbers. */
function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  return a1 * b1 + (middle >>> 16) + ((a0 * b1 + (middle & 0xffff)) >>> 16);
}
