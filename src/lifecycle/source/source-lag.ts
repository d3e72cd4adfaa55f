import { stat } from 'node:fs/promises';
import path from 'node:path';
import { Feed } from './feed.js';
import { isFeedFile } from './open.js';
import { formatWatermark, parseWatermark } from './watermark.js';

/** How far a source is ahead of what was built from it. */
export type SourceLag =
  /** A file that brings no versions, or a version built from one: nothing comes after it. */
  | { readonly kind: 'frozen' }
  | {
      readonly kind: 'feed';
      /** Up to which the version holds the source. */
      readonly watermark: string;
      /** Where the source is now. */
      readonly newest: string;
      readonly changesBehind: number;
      /** Documents that those changes are of. Some may turn out to be old news, so it is at most this many. */
      readonly documentsBehind: number;
      readonly bytesBehind: number;
      /** When the feed was last written to. */
      readonly lastChangeAt: Date;
    };

/**
 * Reads what came to the source after a watermark (of a bundle's manifest: `source.watermark`).
 * Errors: INVALID_INPUT_FILE when the feed is another one, INVALID_ARGUMENT for a text that is no watermark.
 */
export async function sourceLag(
  file: string,
  watermark: string | null,
  signal?: AbortSignal,
): Promise<SourceLag> {
  if (watermark === null || !(await isFeedFile(file))) return { kind: 'frozen' };
  const from = parseWatermark(watermark);
  const feed = new Feed(file);
  await feed.assertHolds(from);
  const ids = new Set<string>();
  let changes = 0;
  let offset = from.offset;
  for await (const change of feed.changes(from, signal === undefined ? {} : { signal })) {
    ids.add(change.id);
    changes++;
    offset = change.offset + change.bytes + 1;
  }
  const newest = await feed.positionAt(offset, from.changes + changes);
  return {
    kind: 'feed',
    watermark,
    newest: formatWatermark(newest),
    changesBehind: changes,
    documentsBehind: ids.size,
    bytesBehind: offset - from.offset,
    lastChangeAt: (await stat(path.resolve(file))).mtime,
  };
}
