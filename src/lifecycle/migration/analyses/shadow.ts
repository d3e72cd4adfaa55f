import type { MirrorTotals } from '../mirror-counts.js';
import type { StepOptions } from '../plan-schema.js';
import { type Finding, percent } from './finding.js';

export type ShadowOptions = NonNullable<StepOptions<'analysis'>['shadow']>;

/**
 * Mirrored reads: whether the new version answers them, fully, and how much its answers differ, beside what a second
 * build of the old version differs by chance (`floor`). Difference is no loss: limits on it are for changes that should
 * change nothing.
 */
export function checkShadow(mirrored: MirrorTotals, floor: MirrorTotals, options: ShadowOptions): Finding {
  const { compared, shorter, failed, late, overlapMean, rboMean } = mirrored;
  const ofFloor =
    overlapMean === null || floor.overlapMean === null || floor.overlapMean === 0
      ? null
      : overlapMean / floor.overlapMean;
  const figures = {
    compared,
    shorter,
    failed,
    late,
    overlap: overlapMean,
    rbo: rboMean,
    noise_floor:
      floor.compared === 0
        ? null
        : { compared: floor.compared, overlap: floor.overlapMean, rbo: floor.rboMean },
    share_of_noise_floor: ofFloor,
  };
  const found = (verdict: Finding['verdict'], why: string): Finding => ({
    check: 'shadow',
    verdict,
    why,
    figures,
  });
  if (compared < options.compared_min)
    return found(
      'undecided',
      `${compared} reads were compared, ${options.compared_min} are needed (compared_min)`,
    );
  const lateShare = late / (compared + failed + late);
  const said = `${compared} reads compared${late === 0 ? '' : ` (${percent(lateShare)} came too late)`}, overlap ${overlapMean?.toFixed(3)}${floor.compared === 0 ? '' : `, noise floor ${floor.overlapMean?.toFixed(3)}`}`;
  const shorterShare = shorter / compared;
  if (shorterShare > options.shorter_share_max)
    return found(
      'failed',
      `${percent(shorterShare)} of its answers had fewer hits; at most ${percent(options.shorter_share_max)} may`,
    );
  const failedShare = failed / (compared + failed);
  if (failedShare > options.failed_share_max)
    return found(
      'failed',
      `${percent(failedShare)} of the mirrored reads failed; at most ${percent(options.failed_share_max)} may`,
    );
  if (options.overlap_min !== null && (overlapMean ?? 0) < options.overlap_min)
    return found('failed', `${said}; overlap_min is ${options.overlap_min}`);
  if (options.noise_floor_share_min !== null) {
    if (ofFloor === null)
      return found(
        'inconclusive',
        `${said}; there is no noise floor: mirror to a second build of the old version`,
      );
    if (ofFloor < options.noise_floor_share_min)
      return found(
        'failed',
        `${said}: ${percent(ofFloor)} of it, at least ${percent(options.noise_floor_share_min)} is asked for`,
      );
  }
  // More reads may still show that it was a moment; when the time is over it is for a person.
  if (lateShare > options.late_share_max)
    return found(
      'undecided',
      `${percent(lateShare)} of the mirrored reads were not answered by mirror.deadline_ms, at most ${percent(options.late_share_max)} may be (late_share_max): those that were compared are the quick ones`,
    );
  return found('successful', said);
}
