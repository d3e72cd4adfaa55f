import { REASONS, type SwitchyardError, toSwitchyardError } from '../errors.js';
import type { Fingerprint } from '../vocabulary.js';
import { type AdmittedCall, assertSpace, type CallVector } from './admitted-call.js';

/** As many texts as one encode call takes. */
const TEXTS_MAX = 1024;

/**
 * The vectors of a batch's texts, with one encode call per model. Each call has its vector or its own error;
 * calls that brought a vector are left out. `assertInTime` throws for a call whose deadline has passed.
 */
export async function encodeTogether(
  calls: readonly AdmittedCall[],
  assertInTime: (call: AdmittedCall) => void,
): Promise<ReadonlyMap<AdmittedCall, CallVector | SwitchyardError>> {
  const vectors = new Map<AdmittedCall, CallVector | SwitchyardError>();
  const byModel = new Map<Fingerprint, AdmittedCall[]>();
  for (const call of calls) {
    if (call.call.query.kind !== 'text') continue;
    try {
      assertInTime(call);
    } catch (thrown) {
      vectors.set(call, toSwitchyardError(thrown));
      continue;
    }
    const { fingerprint } = call.open.spec;
    const last = byModel.get(fingerprint);
    if (last === undefined) byModel.set(fingerprint, [call]);
    else last.push(call);
  }
  const groups = [...byModel.values()].flatMap((group) => slices(group, TEXTS_MAX));
  const encoded = await Promise.all(groups.map(encodeGroup));
  for (const group of encoded) for (const [call, vector] of group) vectors.set(call, vector);
  return vectors;
}

type Encoded = readonly (readonly [AdmittedCall, CallVector | SwitchyardError])[];

async function encodeGroup(group: readonly AdmittedCall[]): Promise<Encoded> {
  const first = group[0];
  if (first === undefined) return [];
  const { encoder, spec } = first.open;
  try {
    const batch = await encoder.encode({
      texts: group.map(({ call }) => (call.query.kind === 'text' ? call.query.text : '')),
      role: 'query',
      lane: 'live',
      // Worthless only when the last of them is.
      deadlineAtMs: Math.max(...group.map(({ call }) => call.deadlineAtMs)),
    });
    assertSpace(batch, spec.fingerprint);
    const { fingerprint, dimensions, queueUs, encodeUs } = batch;
    return group.map((call, at) => {
      // A copy: what is sent to a search worker would otherwise take the whole batch with it.
      const values = batch.values.slice(at * dimensions, (at + 1) * dimensions);
      return [call, { vector: { fingerprint, values }, queueUs, encodeUs }] as const;
    });
  } catch (thrown) {
    const error = toSwitchyardError(thrown);
    // One text that can never be encoded must not take the others with it.
    if (group.length > 1 && REASONS[error.reason].retry === 'never') {
      const alone = await Promise.all(group.map((call) => encodeGroup([call])));
      return alone.flat();
    }
    return group.map((call) => [call, error] as const);
  }
}

function slices<T>(items: readonly T[], length: number): T[][] {
  const result: T[][] = [];
  for (let at = 0; at < items.length; at += length) result.push(items.slice(at, at + length));
  return result;
}
