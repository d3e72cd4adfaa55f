import { SwitchyardError } from '../errors.js';
import type { Timers } from '../process/timers.js';
import { modelRef } from '../vocabulary.js';
import { assertInTime, assertText, type QueryLimits } from './admission.js';
import { encodeText } from './encode-text.js';
import type { RouterMetrics } from './metrics.js';
import type { EmbedCall, EmbedOutcome } from './query.js';
import type { QueryCaches } from './query-caches.js';
import type { TargetStore } from './targets.js';

export interface EmbedOptions {
  readonly store: TargetStore;
  readonly caches: QueryCaches;
  readonly limits: QueryLimits;
  readonly metrics: RouterMetrics;
  readonly timers: Timers;
  readonly isKnownModel: (model: string) => boolean;
}

/** One text's vector by a model that some target or hold has open. Errors: UNKNOWN_MODEL, those of texts and encoders. */
export async function embed(
  { store, caches, limits, metrics, timers, isKnownModel }: EmbedOptions,
  { model, text, role, priority, deadlineAtMs, trace }: EmbedCall,
): Promise<EmbedOutcome> {
  const shared = store.findEncoder(model);
  const encoder = shared?.value;
  if (!shared || !encoder) throw unknownModel(model, store, isKnownModel);
  assertText(text, limits.textBytesMax);
  assertInTime(timers, deadlineAtMs, 'encode');
  shared.retain();
  try {
    const request = { encoder, text, role, lane: priority, deadlineAtMs, trace };
    const encoded = await encodeText(caches.embeddings, request);
    return {
      model: modelRef(encoder.model),
      fingerprint: encoded.fingerprint,
      values: encoded.values,
      tokenCount: encoded.tokenCount,
      truncated: encoded.isTruncated,
      queueUs: encoded.queueUs,
    };
  } catch (thrown) {
    const { fingerprint } = encoder.model;
    metrics.embedFailed({ modelRef: modelRef(encoder.model), fingerprint }, thrown);
    throw thrown;
  } finally {
    shared.release();
  }
}

function unknownModel(
  model: string,
  store: TargetStore,
  isKnownModel: (model: string) => boolean,
): SwitchyardError {
  const models = store
    .openEncoders()
    .map((encoder) => modelRef(encoder.model))
    .sort()
    .join(', ');
  const why = isKnownModel(model) ? 'is not loaded: no route uses it' : 'does not exist';
  return new SwitchyardError(
    'UNKNOWN_MODEL',
    `model ${JSON.stringify(model.slice(0, 160))} ${why}; loaded: ${models}`,
    { details: { models } },
  );
}
