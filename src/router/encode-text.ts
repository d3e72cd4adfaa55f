import { assertSpace } from './admitted-call.js';
import type { EmbeddingCache, EncodedText, EncodeText } from './embedding-cache.js';

/** One text's vector, remembered or encoded. `cache` null: always encoded. Errors: those of the encoder; FINGERPRINT_MISMATCH. */
export async function encodeText(cache: EmbeddingCache | null, request: EncodeText): Promise<EncodedText> {
  const encoded =
    cache === null ? await encodeAlone(request) : await cache.encode(request, () => encodeAlone(request));
  assertSpace(encoded, request.encoder.model.fingerprint);
  return encoded;
}

async function encodeAlone({ encoder, text, role, lane, deadlineAtMs }: EncodeText): Promise<EncodedText> {
  const batch = await encoder.encode({ texts: [text], role, lane, deadlineAtMs });
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
