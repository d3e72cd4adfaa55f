import protobuf from 'protobufjs';

/** Document ids of a SearchResponse, best first, read without building the message. */
export function answerIds(message: Buffer): string[] {
  const ids: string[] = [];
  const reader = new protobuf.Reader(message);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag !== ((2 << 3) | 2)) {
      reader.skipType(tag & 7);
      continue;
    }
    const end = reader.uint32() + reader.pos;
    while (reader.pos < end) {
      const field = reader.uint32();
      if (field === ((1 << 3) | 2)) ids.push(reader.string());
      else reader.skipType(field & 7);
    }
  }
  return ids;
}

/** How many of the ids that were asked for came, each counted once. */
export function idsFound(ids: readonly string[], expected: ReadonlySet<string>): number {
  let found = 0;
  for (let at = 0; at < ids.length; at++)
    if (expected.has(ids[at] as string) && ids.indexOf(ids[at] as string) === at) found++;
  return found;
}
