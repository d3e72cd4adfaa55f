import type { Checker } from '../judge/checker.js';
import type { Outcome, SearchRequest } from './client.js';
import type { End } from './tally.js';

/** A build as the registry has it: what `served_by` is compared with, never believed. */
export interface ServedBuild {
  readonly version: string;
  readonly model: string;
  readonly fingerprint: string;
}

export interface Known {
  readonly checker: Checker;
  readonly queries: readonly string[];
  /** By what `served_by` calls a build. */
  readonly builds: ReadonlyMap<string, ServedBuild>;
}

/**
 * Judges what the request for query number `at` came to. `mispaired`: of another version, model or build than it names
 * or than was asked for. `wrong`: nobody's answer.
 */
export function endOf(outcome: Outcome, request: SearchRequest, at: number, known: Known): End {
  if (outcome.kind !== 'answer') return outcome;
  const { served_by } = outcome.answer;
  const build = known.builds.get(served_by.build);
  const isItself =
    build !== undefined &&
    build.version === served_by.corpus_version &&
    build.model === served_by.model &&
    build.fingerprint === served_by.fingerprint;
  const isAsked =
    (request.model === undefined || request.model === served_by.model) &&
    (request.corpus_version === undefined || request.corpus_version === served_by.corpus_version);
  const verdict =
    isItself && isAsked ? known.checker.verdict(known.queries[at] as string, outcome.answer) : 'mispaired';
  if (verdict === 'right') return { kind: verdict };
  const asked = request.corpus_version ?? request.model ?? 'any version';
  const { corpus_version, model } = served_by;
  return {
    kind: verdict,
    what: `query ${at} to ${asked} by ${served_by.build} (${corpus_version}, ${model})`,
  };
}
