/** Numbers per slab: some hundred vectors share the memory, and a waiting query keeps at most one slab alive. */
const SLAB_LENGTH = 65_536;

/**
 * Private copies of query vectors, many to a buffer: a buffer for each costs as much as a tenth of the request, most
 * of it in the garbage collector.
 */
export class VectorSlab {
  #slab = new Float32Array(0);
  #used = 0;

  copy(values: Float32Array): Float32Array<ArrayBuffer> {
    if (values.length > SLAB_LENGTH / 8) return new Float32Array(values);
    if (this.#used + values.length > this.#slab.length) {
      this.#slab = new Float32Array(SLAB_LENGTH);
      this.#used = 0;
    }
    const copy = this.#slab.subarray(this.#used, this.#used + values.length);
    copy.set(values);
    this.#used += values.length;
    return copy;
  }
}
