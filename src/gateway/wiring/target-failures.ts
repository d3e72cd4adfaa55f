import { type SwitchyardError, toSwitchyardError } from '../../errors.js';
import type { TargetLabels, TrafficKind } from '../../router/metrics.js';
import { LineLimit } from '../../telemetry/line-limit.js';
import type { Logger } from '../../telemetry/log.js';
import type { Metrics } from '../../telemetry/metrics.js';
import { digestPrefix, type Fingerprint } from '../../vocabulary.js';

type TargetKind = TrafficKind | 'mirror';
/** `embed`: of a model alone, without a target. */
const KINDS = ['split', 'pinned', 'mirror', 'embed'] as const satisfies readonly (TargetKind | 'embed')[];
type Kind = (typeof KINDS)[number];
const LINES_PER_S_MAX = 10;

/**
 * What fails at a target, where it fails: a batch hides it in an answer, another target answers in its place, and a
 * mirror answers nobody. Invariant 1's refusals are counted and logged by themselves, since one of them is too many.
 */
export class TargetFailures {
  readonly #metrics: Metrics;
  readonly #log: Logger;
  /** Of each kind its own: many of one hide none of another. */
  readonly #lines = {
    split: new LineLimit(LINES_PER_S_MAX),
    pinned: new LineLimit(LINES_PER_S_MAX),
    mirror: new LineLimit(LINES_PER_S_MAX),
    embed: new LineLimit(LINES_PER_S_MAX),
  } as const satisfies Record<Kind, LineLimit>;

  constructor(metrics: Metrics, log: Logger) {
    this.#metrics = metrics;
    this.#log = log;
    // The first one is what the alert is for, and an increase is seen from nought only.
    for (const kind of KINDS) metrics.mispairings.declare(kind);
  }

  count(target: TargetLabels, kind: TargetKind, thrown: unknown): void {
    const error = toSwitchyardError(thrown);
    const { corpus, version, model } = target;
    const build = digestPrefix(target.build);
    this.#metrics.targetFailures.add(corpus, version, build, kind, error.reason);
    this.#countMispairing(kind, error, { corpus, version, build, model });
  }

  countEmbed(
    { modelRef, fingerprint }: { modelRef: string; fingerprint: Fingerprint },
    thrown: unknown,
  ): void {
    this.#countMispairing('embed', toSwitchyardError(thrown), { model: modelRef, fingerprint });
  }

  #countMispairing(
    kind: Kind,
    { reason, message }: SwitchyardError,
    of: Readonly<Record<string, string>>,
  ): void {
    if (reason !== 'FINGERPRINT_MISMATCH') return;
    this.#metrics.mispairings.add(kind);
    if (this.#lines[kind].takes(performance.now()))
      this.#log.error(
        { reason, ...of, kind, mismatch: message },
        'a wrong pairing was refused: nothing of it was served',
      );
  }
}
