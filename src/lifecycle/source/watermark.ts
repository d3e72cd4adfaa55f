import { SwitchyardError } from '../../errors.js';

/** How far a feed was read: everything before `offset`, which is where a line begins or the feed ends. */
export interface FeedPosition {
  /** In bytes. */
  readonly offset: number;
  /** Lines that were changes, before it. */
  readonly changes: number;
  /** First 16 hex of the SHA-256 of the last 4 096 bytes before it: another feed under this name is seen. */
  readonly tail: string;
}

const FORM = /^feed1:(\d{1,15}):(\d{1,15}):([0-9a-f]{16})$/;

/** As a manifest has it in `source.watermark`. */
export const formatWatermark = ({ offset, changes, tail }: FeedPosition): string =>
  `feed1:${offset}:${changes}:${tail}`;

/** Errors: INVALID_ARGUMENT. */
export function parseWatermark(text: string): FeedPosition {
  const [, offset, changes, tail] = FORM.exec(text) ?? [];
  if (offset === undefined || changes === undefined || tail === undefined)
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `${JSON.stringify(text.slice(0, 80))} is no watermark of a feed: expected feed1:<bytes>:<changes>:<16 hex>`,
    );
  return { offset: Number(offset), changes: Number(changes), tail };
}
