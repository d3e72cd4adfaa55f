/**
 * How the rows of a build that were taken out again are closed up: rows from the end move into their places, so that rows
 * are numbered without gaps. Only for builds of one row a document, where a row can lie anywhere.
 */
export interface Compaction {
  /** Rows that were linked in, those taken out among them. */
  readonly linkedCount: number;
  /** Rows that stay: 0..rowCount-1. */
  readonly rowCount: number;
  /** Where rows go to, ascending, and where each comes from. */
  readonly to: Uint32Array<ArrayBuffer>;
  readonly from: Uint32Array<ArrayBuffer>;
}

/** Null where nothing was taken out. */
export function planCompaction(linkedCount: number, removed: ReadonlySet<number>): Compaction | null {
  if (removed.size === 0) return null;
  const rowCount = linkedCount - removed.size;
  const to = Uint32Array.from([...removed].filter((row) => row < rowCount)).sort();
  const from = new Uint32Array(to.length);
  for (let row = rowCount, at = 0; row < linkedCount; row++) if (!removed.has(row)) from[at++] = row;
  return { linkedCount, rowCount, to, from };
}

/** The row that comes to lie at each place, in order, as runs that follow one another where they come from. */
export function* runsOf({ rowCount, to, from }: Compaction): Generator<{
  readonly first: number;
  readonly count: number;
}> {
  let row = 0;
  for (const [at, place] of to.entries()) {
    if (place > row) yield { first: row, count: place - row };
    yield { first: from[at] as number, count: 1 };
    row = place + 1;
  }
  if (row < rowCount) yield { first: row, count: rowCount - row };
}
