/** So many lines in one second at most: a flood of failures fills no log, and a slow disk under it makes nothing slower. */
export class LineLimit {
  readonly #perSecondMax: number;
  #second = 0;
  #lines = 0;

  constructor(perSecondMax: number) {
    this.#perSecondMax = perSecondMax;
  }

  /** Whether one more may be written. `atMs`: of a clock that never goes back. */
  takes(atMs: number): boolean {
    const second = Math.floor(atMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#lines = 0;
    }
    return ++this.#lines <= this.#perSecondMax;
  }
}
