import { SwitchyardError } from '../errors.js';
import { sumOfSquares } from '../index/distances.js';
import type { Timers } from '../process/timers.js';
import type { PickTable } from './pick.js';
import type { QueryInput, SearchCall } from './query.js';
import type { RouteSnapshot, SnapshotTarget } from './snapshot.js';
import type { OpenTarget } from './targets.js';

export interface QueryLimits {
  readonly textBytesMax: number;
  readonly topKMax: number;
}

/** What can be said of a call before its target is known. */
export function assertWithinLimits(call: SearchCall, limits: QueryLimits): void {
  const { topK } = call;
  if (!Number.isInteger(topK) || topK < 1 || topK > limits.topKMax)
    throw new SwitchyardError('INVALID_ARGUMENT', `top_k ${topK} must be from 1 to ${limits.topKMax}`, {
      details: { field: 'top_k', min: '1', max: String(limits.topKMax) },
    });
  if (call.query.kind === 'text') assertText(call.query.text, limits.textBytesMax);
}

export function assertText(text: string, textBytesMax: number): void {
  // A UTF-16 unit is one to three bytes of UTF-8, so most texts need not be measured.
  const bytes = text.length * 3 <= textBytesMax ? 0 : Buffer.byteLength(text, 'utf8');
  if (bytes > textBytesMax)
    throw new SwitchyardError('TEXT_TOO_LARGE', `the text has ${bytes} bytes; ${textBytesMax} is the most`, {
      details: { bytes: String(bytes), max: String(textBytesMax) },
    });
  if (text.trim() === '')
    throw new SwitchyardError('EMPTY_QUERY', 'the text is empty: send at least one visible character');
}

/** Errors: DEADLINE_EXCEEDED, naming what it passed before. */
export function assertInTime(timers: Timers, deadlineAtMs: number, stage: string): void {
  if (timers.nowMs() < deadlineAtMs) return;
  throw new SwitchyardError('DEADLINE_EXCEEDED', `the deadline passed before ${stage}`, {
    details: { stage },
  });
}

/**
 * The targets a call may be served by: those of the pinned version, else of the named model, else the split.
 * `isKnownModel` tells a model the registry has from one that does not exist.
 */
export function eligibleTargets(
  snapshot: RouteSnapshot,
  call: SearchCall,
  isKnownModel: (model: string) => boolean,
): PickTable<SnapshotTarget> {
  const { model, corpusVersion } = call;
  if (model === null && call.query.kind === 'vector')
    throw refuseModel(
      snapshot,
      'MODEL_REQUIRED',
      'a vector must name the model that made it (model: name@version or fingerprint)',
    );
  const fingerprint = model === null ? null : snapshot.models.get(model);
  if (fingerprint === undefined) {
    const reason = isKnownModel(model ?? '') ? 'MODEL_MISMATCH' : 'UNKNOWN_MODEL';
    const what = reason === 'UNKNOWN_MODEL' ? 'does not exist' : `built no target of ${snapshot.corpus}`;
    throw refuseModel(snapshot, reason, `model ${named(model)} ${what}`);
  }
  if (corpusVersion !== null) {
    const table = snapshot.byVersion.get(corpusVersion);
    if (table === undefined) throw refuseVersion(snapshot, corpusVersion);
    const made = table.entries[0]?.item.route;
    if (fingerprint !== null && made?.fingerprint !== fingerprint)
      throw new SwitchyardError(
        'MODEL_MISMATCH',
        `${snapshot.corpus}/${corpusVersion} was built by ${made?.modelRef}, not by ${named(model)}`,
        { details: { models: made?.modelRef ?? '', fingerprints: made?.fingerprint ?? '' } },
      );
    return table;
  }
  if (fingerprint === null) {
    if (snapshot.split.entries.length === 0)
      throw new SwitchyardError('INDEX_UNAVAILABLE', `${snapshot.corpus} has no target with weight`);
    return snapshot.split;
  }
  const table = snapshot.byModel.get(fingerprint);
  if (table !== undefined) return table;
  const absent = snapshot.absent.find(
    (target) => target.fingerprint === fingerprint && target.role === 'draining',
  );
  if (absent !== undefined) throw notLoaded(snapshot, absent.version);
  throw refuseModel(
    snapshot,
    'MODEL_MISMATCH',
    `model ${named(model)} built no serving target of ${snapshot.corpus}`,
  );
}

/** Invariant 6: length, finiteness and direction of a raw vector against the target it was picked for. */
export function assertVector(query: QueryInput, { encoder, index, spec }: OpenTarget): void {
  if (query.kind !== 'vector') return;
  const { values } = query;
  const { dimensions } = encoder.model;
  if (values.length !== dimensions)
    throw new SwitchyardError(
      'DIMENSION_MISMATCH',
      `the vector has ${values.length} numbers; model ${spec.modelRef} has ${dimensions}`,
      { details: { got: String(values.length), expected: String(dimensions), model: spec.modelRef } },
    );
  const squares = sumOfSquares(values, 0, values.length);
  if (!Number.isFinite(squares)) {
    const at = values.findIndex((value) => !Number.isFinite(value));
    throw new SwitchyardError('NON_FINITE_VECTOR', `number ${at} of the vector is ${values[at]}`, {
      details: { position: String(at) },
    });
  }
  if (squares === 0 && index.bundle.manifest.metric === 'cosine')
    throw new SwitchyardError(
      'ZERO_VECTOR',
      'the vector is all zeros and has no direction, which cosine needs: encode the text again',
    );
}

/** Client text in a message: shown, but cut. */
const named = (model: string | null): string => JSON.stringify((model ?? '').slice(0, 160));

function refuseModel(
  snapshot: RouteSnapshot,
  reason: 'MODEL_REQUIRED' | 'UNKNOWN_MODEL' | 'MODEL_MISMATCH',
  what: string,
): SwitchyardError {
  const routes = [...snapshot.byModel.values()].flatMap(({ entries }) => entries[0]?.item.route ?? []);
  const models = routes.map(({ modelRef }) => modelRef).join(', ');
  const fingerprints = routes.map(({ fingerprint }) => fingerprint).join(', ');
  return new SwitchyardError(reason, `${what}; models that work: ${models}`, {
    details: { models, fingerprints },
  });
}

function refuseVersion(snapshot: RouteSnapshot, version: string): SwitchyardError {
  if (snapshot.absent.some((target) => target.version === version)) return notLoaded(snapshot, version);
  const versions = [...snapshot.byVersion.keys()].join(', ');
  return new SwitchyardError(
    'UNKNOWN_CORPUS_VERSION',
    `${snapshot.corpus} has no routed version ${named(version)}; routed: ${versions}`,
    { details: { versions } },
  );
}

const notLoaded = ({ corpus }: RouteSnapshot, version: string): SwitchyardError =>
  new SwitchyardError(
    'INDEX_UNAVAILABLE',
    `${corpus}/${version} is routed but not loaded here: try again soon`,
  );
