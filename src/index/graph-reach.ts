import { closeSync, openSync, readSync } from 'node:fs';
import { readUsearchHeaderSync, type UsearchHeader } from './usearch-header.js';

/**
 * Layout of a node in index.usearch: u64 key, i16 level, then per level, base first, a u32 count and room for
 * `connectivity` (on the base level `baseConnectivity`) slots of u32. Nodes follow one another in slot order.
 */
const NODE_HEAD_BYTES = 10;
const COUNT_BYTES = 4;
const SLOT_BYTES = 4;
const BLOCK_BYTES = 8 << 20;

class GraphFile {
  readonly header: UsearchHeader;
  readonly #descriptor: number;
  readonly #levels: Int16Array;

  constructor(descriptor: number, header: UsearchHeader) {
    this.#descriptor = descriptor;
    this.header = header;
    this.#levels = new Int16Array(header.graphSize);
    this.#read(new Uint8Array(this.#levels.buffer), header.levelsOffset);
  }

  /** One pass over the file: `visit` gets each node's slot, and where it starts in `bytes`. */
  eachNode(visit: (slot: number, bytes: DataView, at: number) => void): void {
    const { graphSize, connectivity, baseConnectivity, levelsOffset } = this.header;
    const baseBytes = NODE_HEAD_BYTES + COUNT_BYTES + baseConnectivity * SLOT_BYTES;
    const levelBytes = COUNT_BYTES + connectivity * SLOT_BYTES;
    const block = new Uint8Array(BLOCK_BYTES);
    const view = new DataView(block.buffer);
    let slot = 0;
    let position = levelsOffset + graphSize * 2;
    while (slot < graphSize) {
      const filled = this.#read(block, position);
      let at = 0;
      while (slot < graphSize) {
        const bytes = baseBytes + (this.#levels[slot] as number) * levelBytes;
        if (at + bytes > filled) break;
        visit(slot++, view, at);
        at += bytes;
      }
      if (at === 0) throw new RangeError(`the graph ends before node ${slot}`);
      position += at;
    }
  }

  #read(target: Uint8Array, position: number): number {
    let done = 0;
    while (done < target.length) {
      const read = readSync(this.#descriptor, target, done, target.length - done, position + done);
      if (read === 0) break;
      done += read;
    }
    return done;
  }
}

/**
 * Rows that no chain of base-level links from the entry point leads to, ascending. The file is read front to back
 * a few times instead of being held: a pass spreads along links that point onward, so few are needed.
 */
export function findUnreachableRows(file: string): number[] {
  const descriptor = openSync(file, 'r');
  try {
    const header = readUsearchHeaderSync(descriptor);
    if (typeof header === 'string') throw new RangeError(header);
    return unreachable(new GraphFile(descriptor, header));
  } finally {
    closeSync(descriptor);
  }
}

const UNSEEN = 0;
const REACHED = 1;
const EXPANDED = 2;

function unreachable(graph: GraphFile): number[] {
  const { graphSize, entrySlot } = graph.header;
  const states = new Uint8Array(graphSize);
  states[entrySlot] = REACHED;
  let waiting = 1;
  while (waiting > 0)
    graph.eachNode((slot, bytes, at) => {
      if (states[slot] !== REACHED) return;
      states[slot] = EXPANDED;
      waiting--;
      const count = bytes.getUint32(at + NODE_HEAD_BYTES, true);
      const first = at + NODE_HEAD_BYTES + COUNT_BYTES;
      for (let i = 0; i < count; i++) {
        const neighbour = bytes.getUint32(first + i * SLOT_BYTES, true);
        if (neighbour >= graphSize) throw new RangeError(`node ${slot} links to ${neighbour}`);
        if (states[neighbour] !== UNSEEN) continue;
        states[neighbour] = REACHED;
        waiting++;
      }
    });
  const rows: number[] = [];
  if (states.includes(UNSEEN))
    graph.eachNode((slot, bytes, at) => {
      if (states[slot] === UNSEEN) rows.push(Number(bytes.getBigUint64(at, true)));
    });
  return rows.sort((a, b) => a - b);
}
