import { WORDNET_TEMPLATE } from '../bench/data/wordnet.js';

/**
 * The default plan's four phases with times for a demonstration: minutes in place of days, and no confirmations, so that
 * one command drives it from start to end. It embeds the new version from its source, or takes one that is just that.
 * Times are judged generously, since everything here shares one small machine.
 */
export const demoPlan = (model: string, source: string) => ({
  steps: [
    { build: { model, source, document_template: WORDNET_TEMPLATE } },
    { verify: {} },
    { shadow: { duration_s: 5, compared_min: 200, timeout_s: 600 } },
    {
      analysis: {
        golden: {},
        shadow: { compared_min: 200 },
        service_time: { quantile: 0.5, samples_min: 100, ratio_max: 10, allowance_ms: 100 },
        cost: {},
        timeout_s: 600,
        interval_s: 0.5,
      },
    },
    ...[100, 1_000, 5_000, 10_000].flatMap((weight) => [
      { set_weight: { weight } },
      {
        analysis: {
          service_time: {
            quantile: 0.75,
            samples_min: weight < 1_000 ? 10 : 60,
            ratio_max: 3,
            allowance_ms: 300,
          },
          error_rate: { samples_min: weight < 1_000 ? 10 : 60 },
          duration_s: 2,
          timeout_s: 600,
          interval_s: 0.5,
        },
      },
    ]),
    { complete: {} },
  ],
});
