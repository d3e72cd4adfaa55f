/** IEEE 754 half precision, given as bits, as single precision. Exact: every half is a float. */
export function float16ToFloat32(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const outBits = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) {
    const half = bits[i] as number;
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0) {
      // Zero and subnormals: the fraction counts units of 2^-24.
      out[i] = (sign === 0 ? fraction : -fraction) * 2 ** -24;
      if (fraction === 0) outBits[i] = sign;
    } else {
      const wide = exponent === 0x1f ? 0xff : exponent + 112;
      outBits[i] = sign | (wide << 23) | (fraction << 13);
    }
  }
  return out;
}

const FLOAT16_MAX = 65_504;

/** Single precision as the bits of half precision, rounded to nearest, ties to even; beyond its range: the largest. */
export function float32ToFloat16(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    const magnitude = Math.min(Math.abs(value), FLOAT16_MAX);
    // Halves of one exponent lie 2^(exponent - 10) apart; below 2^-14 they are subnormal and 2^-24 apart.
    const exponent = Math.max(-14, Math.floor(Math.log2(magnitude)));
    const units = roundHalfToEven(magnitude / 2 ** (exponent - 10));
    // `units` holds the leading 1 of a normal number, which adds one to the exponent, as a carry does.
    const bits = ((exponent + 14) << 10) + units;
    out[i] = (value < 0 || Object.is(value, -0) ? 0x8000 : 0) | bits;
  }
  return out;
}

function roundHalfToEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest === 0.5) return floor + (floor % 2);
  return rest > 0.5 ? floor + 1 : floor;
}
