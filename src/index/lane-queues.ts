import { LinkedList } from '../process/linked-list.js';
import { LANES, type Lane } from '../vocabulary.js';

export interface Queued {
  readonly lane: Lane;
}

/**
 * One first-in first-out queue per lane, each with its own bound, so that bulk work cannot crowd live work out. What was
 * taken is held no longer: an array with a moving head would keep the queries before it, vectors and all, through
 * collections of young garbage.
 */
export class LaneQueues<T extends Queued> {
  readonly #lengthMax: number;
  readonly #lanes: Readonly<Record<Lane, LinkedList<T>>> = {
    live: new LinkedList(),
    shadow: new LinkedList(),
    bulk: new LinkedList(),
  };

  constructor(lengthMax: number) {
    this.#lengthMax = lengthMax;
  }

  lengthOf(lane: Lane): number {
    return this.#lanes[lane].size;
  }

  get isEmpty(): boolean {
    return LANES.every((lane) => this.lengthOf(lane) === 0);
  }

  /** False when the lane is full. */
  push(item: T): boolean {
    const queue = this.#lanes[item.lane];
    if (queue.size >= this.#lengthMax) return false;
    queue.add(item);
    return true;
  }

  /** Up to `count` items of a lane. Those met on the way that `dropped` says yes to are left out, and not seen again. */
  take(lane: Lane, count: number, dropped: (item: T) => boolean): T[] {
    const queue = this.#lanes[lane];
    const taken: T[] = [];
    for (let place = queue.first; place !== null && taken.length < count; place = queue.first) {
      queue.remove(place);
      if (!dropped(place.value)) taken.push(place.value);
    }
    return taken;
  }

  /** Removes every item that `gone` says yes to. */
  remove(gone: (item: T) => boolean): T[] {
    const removed: T[] = [];
    for (const lane of LANES) {
      const queue = this.#lanes[lane];
      for (const place of queue.places()) {
        if (!gone(place.value)) continue;
        queue.remove(place);
        removed.push(place.value);
      }
    }
    return removed;
  }
}
