import { toSwitchyardError } from '../../errors.js';
import { summariseFile } from '../../files/hash.js';
import type { ManifestSource } from '../../index/manifest.js';
import { Feed } from './feed.js';
import { isFeedFile } from './open.js';
import { parseWatermark } from './watermark.js';

/**
 * Why a build was not made of this file, for a person; null when it was: of a feed, however far it has gone on since.
 * Errors: INVALID_INPUT_FILE when it cannot be read.
 */
export async function otherSource(file: string, built: ManifestSource): Promise<string | null> {
  const { name, sha256, watermark } = built;
  if (!(await isFeedFile(file)))
    return watermark === null && (await summariseFile(file)).sha256 === sha256
      ? null
      : `it was built from ${name}, whose content is another`;
  if (watermark === null) return `it was built from ${name}, which is no feed`;
  try {
    await new Feed(file).assertHolds(parseWatermark(watermark));
    return null;
  } catch (thrown) {
    const { reason, message } = toSwitchyardError(thrown);
    if (reason === 'INVALID_INPUT_FILE') return `it was built from another feed: ${message}`;
    throw thrown;
  }
}
