/** The place of a value in a list. */
export interface Place<T> {
  readonly value: T;
  before: Place<T> | null;
  after: Place<T> | null;
  isListed: boolean;
}

/**
 * Values in the order they were added, each removable by its place. For what comes and goes with every request, instead
 * of Set: a Set that is rehashed leaves its old table behind with a pointer to the new one, so that once one such table
 * is old, every later one, and every request they held, outlives all collections of young garbage (docs/decisions/0190).
 */
export class LinkedList<T> {
  #first: Place<T> | null = null;
  #last: Place<T> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(value: T): Place<T> {
    const place: Place<T> = { value, before: this.#last, after: null, isListed: true };
    if (this.#last === null) this.#first = place;
    else this.#last.after = place;
    this.#last = place;
    this.#size++;
    return place;
  }

  /** False when it was removed before. What is removed points at nothing that is still listed. */
  remove(place: Place<T>): boolean {
    if (!place.isListed) return false;
    const { before, after } = place;
    if (before === null) this.#first = after;
    else before.after = after;
    if (after === null) this.#last = before;
    else after.before = before;
    place.before = null;
    place.after = null;
    place.isListed = false;
    this.#size--;
    return true;
  }

  /** The oldest. */
  get first(): Place<T> | null {
    return this.#first;
  }

  /** Those of this moment, oldest first. */
  places(): Place<T>[] {
    const places: Place<T>[] = [];
    for (let place = this.#first; place !== null; place = place.after) places.push(place);
    return places;
  }
}
