import type { TestRandom } from '../fixtures/random.js';

/** Numbers at which sizes and lengths break, as bytes. */
const NUMBERS = [
  [0x00],
  [0xff],
  [0x7f],
  [0x80],
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
  [0x00, 0x00, 0xc0, 0x7f],
  [0xff, 0xff, 0xff, 0x7f],
  [0x00, 0x00, 0x00, 0x80],
].map((bytes) => Buffer.from(bytes));
const WORDS = [
  'null',
  'true',
  '-1',
  '1e999',
  '0.1',
  '9007199254740993',
  '""',
  '{}',
  '[]',
  '[[[[[[[[[[[[[[[[[[[',
  '"__proto__":{}',
  '"constructor"',
  '\\ud800',
  '\\u0000',
  '../../etc/passwd',
  '/',
  '\0',
  '\r\n',
  '&a *a',
  '!!js',
  '<<: *x',
  '%s',
  '#{x}',
  'é',
  '😀',
].map((word) => Buffer.from(word));

/** One to four changes to one of the seeds: bits, cuts, repeats, splices with another seed, telling numbers and words. */
export function mutated(seeds: readonly Buffer[], random: TestRandom): Buffer {
  let bytes = Buffer.from(pick(seeds, random));
  for (let change = random.below(4); change >= 0; change--) bytes = changed(bytes, seeds, random);
  return bytes;
}

function changed(bytes: Buffer, seeds: readonly Buffer[], random: TestRandom): Buffer<ArrayBuffer> {
  const at = random.below(bytes.length + 1);
  const to = Math.min(bytes.length, at + random.below(16));
  const head = bytes.subarray(0, at);
  switch (random.below(8)) {
    case 0: {
      const flipped = Buffer.from(bytes);
      if (at < flipped.length) flipped[at] = (flipped[at] as number) ^ (1 << random.below(8));
      return flipped;
    }
    case 1:
      return Buffer.from(head);
    case 2:
      return Buffer.concat([head, bytes.subarray(to)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
    case 4:
      return Buffer.concat([head, pick(NUMBERS, random), bytes.subarray(to)]);
    case 5:
      return Buffer.concat([head, pick(WORDS, random), bytes.subarray(to)]);
    case 6: {
      const other = pick(seeds, random);
      return Buffer.concat([head, other.subarray(random.below(other.length + 1))]);
    }
    default: {
      const overwritten = Buffer.from(bytes);
      for (let i = at; i < to; i++) overwritten[i] = random.below(256);
      return overwritten;
    }
  }
}

export const pick = <T>(items: readonly T[], random: TestRandom): T => items[random.below(items.length)] as T;
