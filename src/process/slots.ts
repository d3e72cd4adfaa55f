/** At most so many values at once: an id is a slot and how often the slot was used before. */
const SLOTS_MAX = 2 ** 20;
const ID_END = 2 ** 32;

/**
 * What another thread or process owes an answer for, by an id of 32 bits that no other value has had for 4 095 uses of
 * its slot. Instead of Map, for the reason that LinkedList is there instead of Set.
 */
export class Slots<T> {
  /** undefined: free. */
  readonly #values: (T | undefined)[] = [];
  /** The id of the value in each slot, or of the next one. */
  readonly #ids: number[] = [];
  readonly #free: number[] = [];

  get size(): number {
    return this.#values.length - this.#free.length;
  }

  add(value: T & {}): number {
    let slot = this.#free.pop();
    if (slot === undefined) {
      slot = this.#values.length;
      if (slot === SLOTS_MAX) throw new Error(`more than ${SLOTS_MAX} values at once`);
      this.#ids.push(slot);
    }
    this.#values[slot] = value;
    return this.#ids[slot] as number;
  }

  get(id: number): T | undefined {
    const slot = id % SLOTS_MAX;
    return this.#ids[slot] === id ? this.#values[slot] : undefined;
  }

  /** Removes it. undefined: there is none of this id. */
  take(id: number): T | undefined {
    const value = this.get(id);
    if (value !== undefined) this.#release(id % SLOTS_MAX);
    return value;
  }

  /** Removes all. */
  takeAll(): T[] {
    const all = [...this];
    for (const [slot, value] of this.#values.entries()) if (value !== undefined) this.#release(slot);
    return all;
  }

  *entries(): Generator<readonly [id: number, value: T]> {
    for (const [slot, value] of this.#values.entries())
      if (value !== undefined) yield [this.#ids[slot] as number, value];
  }

  *[Symbol.iterator](): Generator<T> {
    for (const [, value] of this.entries()) yield value;
  }

  #release(slot: number): void {
    this.#values[slot] = undefined;
    this.#ids[slot] = ((this.#ids[slot] as number) + SLOTS_MAX) % ID_END;
    this.#free.push(slot);
  }
}
