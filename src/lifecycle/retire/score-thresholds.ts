import type { Consumer } from '../../registry/consumers.js';

/** Quantiles of the scores within an answer, on average over the answers of one version that were compared. */
export interface ScoreQuantiles {
  readonly p25: number;
  readonly median: number;
  readonly p75: number;
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
    : `p25 ${scores.p25.toFixed(3)}, median ${scores.median.toFixed(3)}, p75 ${scores.p75.toFixed(3)}`;
