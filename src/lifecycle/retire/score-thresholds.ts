import type { Consumer } from '../../registry/consumers.js';

/** Quantiles of the scores of one version's answers; null where nothing was compared. */
export interface ScoreQuantiles {
  readonly p10: number;
  readonly p50: number;
  readonly p90: number;
}

export interface ThresholdWarning {
  readonly service: string;
  readonly team: string;
  /** For a person. */
  readonly message: string;
}

/**
 * Consumers of a version that compare scores with numbers of their own: another model's scores are on another scale, so a
 * threshold that was right cuts off good answers or lets bad ones in. Said before a cutover, with both versions' scores.
 */
export function thresholdWarnings(
  consumers: readonly Consumer[],
  cutover: { readonly corpus: string; readonly from: string; readonly to: string },
  scores: { readonly from: ScoreQuantiles | null; readonly to: ScoreQuantiles | null },
): readonly ThresholdWarning[] {
  const { corpus, from, to } = cutover;
  return consumers
    .filter(
      (consumer) =>
        consumer.corpus === corpus &&
        consumer.version === from &&
        consumer.usesScoreThresholds &&
        !consumer.migrated,
    )
    .map(({ serviceName: service, teamOwner: team }) => ({
      service,
      team,
      message: `${service} of team ${team} uses score thresholds made for ${corpus}/${from} (${described(scores.from)}); ${to} scores otherwise (${described(scores.to)}): set them anew`,
    }));
}

const described = (scores: ScoreQuantiles | null): string =>
  scores === null
    ? 'its scores were not compared'
    : `p10 ${scores.p10.toFixed(3)}, p50 ${scores.p50.toFixed(3)}, p90 ${scores.p90.toFixed(3)}`;
