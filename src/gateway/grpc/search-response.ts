import type { Hit } from '../../index/search-index.js';
import type { SearchOutcome, ServedBy } from '../../router/query.js';
import { digestPrefix } from '../../vocabulary.js';
import type { WireWriter } from './wire-writer.js';

const TIER_NUMBER = { dram: 1, ssd: 2 } as const satisfies Record<ServedBy['tier'], number>;
const RESULT_CACHE_NUMBER = { HIT: 1, MISS: 2, BYPASS: 3 } as const satisfies Record<
  ServedBy['resultCache'],
  number
>;

/** Tags of proto/switchyard/v1/search.proto; a test holds them to that file. */
const TAG = { queryId: 0x0a, hits: 0x12, servedBy: 0x1a, degraded: 0x22, timings: 0x2a } as const;
const HIT = { id: 0x0a, chunk: 0x10, score: 0x1d, distance: 0x25, document: 0x2a } as const;
const DOCUMENT = { title: 0x0a, text: 0x12, attributes: 0x1a } as const;
const SERVED_BY = {
  corpusVersion: 0x0a,
  build: 0x12,
  model: 0x1a,
  fingerprint: 0x22,
  routeRevision: 0x28,
  tier: 0x30,
  resultCache: 0x38,
} as const;
const TIMINGS = { queueUs: 0x08, encodeUs: 0x10, searchUs: 0x18, totalUs: 0x20 } as const;

/** Writes a SearchResponse. Hits that are encoded already are taken as they are. */
export function writeSearchResponse(writer: WireWriter, outcome: SearchOutcome): void {
  const { servedBy, timings, hitsWire } = outcome;
  writer.text(TAG.queryId, outcome.queryId);
  if (hitsWire === undefined) for (const hit of outcome.hits) writeHit(writer, hit);
  else writer.raw(hitsWire);
  const served = writer.begin(TAG.servedBy);
  writer.text(SERVED_BY.corpusVersion, servedBy.corpusVersion);
  writer.text(SERVED_BY.build, digestPrefix(servedBy.build));
  writer.text(SERVED_BY.model, servedBy.model);
  writer.text(SERVED_BY.fingerprint, servedBy.fingerprint);
  writer.integer(SERVED_BY.routeRevision, servedBy.routeRevision);
  writer.integer(SERVED_BY.tier, TIER_NUMBER[servedBy.tier]);
  writer.integer(SERVED_BY.resultCache, RESULT_CACHE_NUMBER[servedBy.resultCache]);
  writer.end(served);
  for (const reason of outcome.degraded) writer.text(TAG.degraded, reason);
  const times = writer.begin(TAG.timings);
  writer.integer(TIMINGS.queueUs, Math.round(timings.queueUs));
  writer.integer(TIMINGS.encodeUs, Math.round(timings.encodeUs));
  writer.integer(TIMINGS.searchUs, Math.round(timings.searchUs));
  writer.integer(TIMINGS.totalUs, Math.round(timings.totalUs));
  writer.end(times);
}

function writeHit(writer: WireWriter, hit: Hit): void {
  const mark = writer.begin(TAG.hits);
  writer.text(HIT.id, hit.id);
  writer.integer(HIT.chunk, hit.chunk);
  writer.float(HIT.score, hit.score);
  writer.float(HIT.distance, hit.distance);
  if (hit.document !== null) {
    const { title, text, attributes } = hit.document;
    const document = writer.begin(HIT.document);
    writer.text(DOCUMENT.title, title ?? '');
    writer.text(DOCUMENT.text, text ?? '');
    writer.text(DOCUMENT.attributes, attributes === undefined ? '' : JSON.stringify(attributes));
    writer.end(document);
  }
  writer.end(mark);
}
