/** Why a mirror that was offered was not compared. */
export const MIRROR_DROPS = [
  /** A raw vector is searched only in its own model's space. */
  'no_text',
  /** The shadow is not loaded, or was removed since. */
  'not_ready',
  /** As many mirrors run and wait as are allowed. */
  'concurrency',
  'deadline',
  /** The search workers are behind with what is served: mirrors get what it leaves. */
  'primary_busy',
  'breaker_open',
  /** The encoder's or the index's own queue was full, or stood still and mirrors went first. */
  'overloaded',
  'error',
  'shutting_down',
] as const;
export type MirrorDrop = (typeof MIRROR_DROPS)[number];
