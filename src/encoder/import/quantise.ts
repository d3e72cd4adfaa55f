/** Largest magnitude of an int8 weight: symmetric, so -128 is not used. */
const INT8_MAX = 127;

export interface Quantised {
  /** int8 values as bytes. */
  readonly values: Uint8Array;
  /** One per channel (or row); value × scale is the weight. */
  readonly scales: Float32Array;
}

/** An [outputs, inputs] matrix as int8 [inputs, outputs] with one scale per output. */
export function quantiseColumns(matrix: Float32Array, inputs: number, outputs: number): Quantised {
  const scales = rowScales(matrix, outputs, inputs);
  const values = new Int8Array(inputs * outputs);
  for (let output = 0; output < outputs; output++) {
    const scale = scales[output] as number;
    for (let input = 0; input < inputs; input++) {
      values[input * outputs + output] = toInt8(matrix[output * inputs + input] as number, scale);
    }
  }
  return { values: new Uint8Array(values.buffer), scales };
}

/** A [rows, size] table as int8 of the same shape with one scale per row. */
export function quantiseRows(table: Float32Array, rows: number, size: number): Quantised {
  const scales = rowScales(table, rows, size);
  const values = new Int8Array(rows * size);
  for (let row = 0; row < rows; row++) {
    const scale = scales[row] as number;
    for (let i = row * size; i < (row + 1) * size; i++) values[i] = toInt8(table[i] as number, scale);
  }
  return { values: new Uint8Array(values.buffer), scales };
}

/** The transpose of a [rows, columns] matrix of half precision bits. */
export function transposeHalf(bytes: Uint8Array, rows: number, columns: number): Uint8Array {
  const source = new Uint16Array(Uint8Array.from(bytes).buffer);
  const target = new Uint16Array(source.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      target[column * rows + row] = source[row * columns + column] as number;
    }
  }
  return new Uint8Array(target.buffer);
}

/** The transpose of a [rows, columns] matrix. */
export function transposeSingle(source: Float32Array, rows: number, columns: number): Float32Array {
  const target = new Float32Array(source.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      target[column * rows + row] = source[row * columns + column] as number;
    }
  }
  return target;
}

function rowScales(matrix: Float32Array, rows: number, size: number): Float32Array {
  const scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    let largest = 0;
    for (let i = row * size; i < (row + 1) * size; i++)
      largest = Math.max(largest, Math.abs(matrix[i] as number));
    // A row of zeros needs some scale that is not zero.
    scales[row] = largest === 0 ? 1 : largest / INT8_MAX;
  }
  return scales;
}

const toInt8 = (weight: number, scale: number): number =>
  Math.max(-INT8_MAX, Math.min(INT8_MAX, Math.round(weight / scale)));
