import { LANES, type Lane } from '../vocabulary.js';

export interface Queued {
  readonly lane: Lane;
}

/** One first-in first-out queue per lane, each with its own bound, so that bulk work cannot crowd live work out. */
export class LaneQueues<T extends Queued> {
  readonly #lengthMax: number;
  readonly #lanes: Record<Lane, { items: T[]; head: number }> = {
    live: { items: [], head: 0 },
    shadow: { items: [], head: 0 },
    bulk: { items: [], head: 0 },
  };

  constructor(lengthMax: number) {
    this.#lengthMax = lengthMax;
  }

  lengthOf(lane: Lane): number {
    return this.#lanes[lane].items.length - this.#lanes[lane].head;
  }

  get isEmpty(): boolean {
    return LANES.every((lane) => this.lengthOf(lane) === 0);
  }

  /** False when the lane is full. */
  push(item: T): boolean {
    if (this.lengthOf(item.lane) >= this.#lengthMax) return false;
    this.#lanes[item.lane].items.push(item);
    return true;
  }

  /** Up to `count` items of a lane. Those met on the way that `dropped` says yes to are left out, and not seen again. */
  take(lane: Lane, count: number, dropped: (item: T) => boolean): T[] {
    const queue = this.#lanes[lane];
    const taken: T[] = [];
    while (taken.length < count && queue.head < queue.items.length) {
      const item = queue.items[queue.head++] as T;
      if (!dropped(item)) taken.push(item);
    }
    if (queue.head === queue.items.length) {
      queue.items = [];
      queue.head = 0;
    } else if (queue.head > 1024 && queue.head * 2 > queue.items.length) {
      queue.items.splice(0, queue.head);
      queue.head = 0;
    }
    return taken;
  }

  /** Removes every item that `gone` says yes to. */
  remove(gone: (item: T) => boolean): T[] {
    const removed: T[] = [];
    for (const lane of LANES) {
      const queue = this.#lanes[lane];
      queue.items = queue.items.slice(queue.head).filter((item) => {
        if (!gone(item)) return true;
        removed.push(item);
        return false;
      });
      queue.head = 0;
    }
    return removed;
  }
}
