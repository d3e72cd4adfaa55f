import type { Span } from '../telemetry/trace.js';
import { assertSpace } from './admitted-call.js';
import type { EmbeddingCache, EncodedText, EncodeText } from './embedding-cache.js';
import { recordCache } from './traced.js';

/** One text's vector, remembered or encoded. `cache` null: always encoded. Errors: those of the encoder; FINGERPRINT_MISMATCH. */
export async function encodeText(cache: EmbeddingCache | null, request: EncodeText): Promise<EncodedText> {
  const encoded =
    cache === null
      ? await encodeAlone(request)
      : request.trace === undefined
        ? await cache.encode(request, () => encodeAlone(request))
        : await lookedUp(cache, request, request.trace);
  assertSpace(encoded, request.encoder.model.fingerprint);
  return encoded;
}

/** The same, with the look into the cache recorded. */
async function lookedUp(cache: EmbeddingCache, request: EncodeText, trace: Span): Promise<EncodedText> {
  const startMs = performance.now();
  let isAsked = false;
  const encoded = await cache.encode(request, () => {
    isAsked = true;
    recordCache(trace, 'embedding', 'miss', startMs, performance.now());
    return encodeAlone(request);
  });
  // Remembered, or made for an equal request at the same time.
  if (!isAsked) recordCache(trace, 'embedding', 'found', startMs, performance.now());
  return encoded;
}

async function encodeAlone({
  encoder,
  text,
  role,
  lane,
  deadlineAtMs,
  trace,
}: EncodeText): Promise<EncodedText> {
  const batch = await encoder.encode({ texts: [text], role, lane, deadlineAtMs, trace });
  assertSpace(batch, encoder.model.fingerprint);
  return {
    fingerprint: batch.fingerprint,
    values: batch.values,
    tokenCount: batch.tokenCounts[0] ?? 0,
    isTruncated: batch.truncatedCount > 0,
    queueUs: batch.queueUs,
    encodeUs: batch.encodeUs,
  };
}
