import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pino } from 'pino';
import { loadConfig } from '../../src/config/load.js';
import type { Bundle } from '../../src/index/manifest.js';
import { storedRows } from '../../src/index/stored-rows.js';
import type { BuildRecords } from '../../src/lifecycle/build-records.js';
import {
  buildCorpus,
  type CorpusBuildRequest,
  type CorpusBuildResult,
} from '../../src/lifecycle/corpus-build.js';
import type { Digest, Fingerprint } from '../../src/vocabulary.js';

export interface FeedLine {
  readonly id: string;
  readonly version: number;
  readonly text?: string;
  readonly deleted?: boolean;
}

export const feedText = (lines: readonly FeedLine[]): string =>
  lines.map((line) => `${JSON.stringify(line)}\n`).join('');

export const documentsOf = (count: number, version = 1, from = 0): FeedLine[] =>
  Array.from({ length: count }, (_, at) => ({
    id: `d${from + at}`,
    version,
    text: `text number ${from + at} of version ${version}`,
  }));

/** Where a test writes down what a build told the registry: the builds lie in one file, so that a killed one is seen too. */
export function fileRecords(varDir: string, fingerprint: Fingerprint): BuildRecords {
  const file = path.join(varDir, 'recorded.txt');
  const bundles: { version: string; build: Digest; bundleUri: string }[] = [];
  return {
    resolveModel: async () => fingerprint,
    findBuild: async () => {
      throw new Error('not asked for here');
    },
    buildsOf: async (corpus) => bundles.map((bundle) => ({ corpus, ...bundle })),
    begin: async () => undefined,
    fail: async (_version, why) => appendFileSync(path.join(varDir, 'failures.txt'), `${why}\n`),
    record: async ({ folder, digest, manifest: { version } }) => {
      appendFileSync(file, `${digest}\n`);
      bundles.push({ version, build: digest, bundleUri: `file://${folder}` });
    },
    routeFirst: async () => false,
  };
}

export const recordedDigests = (varDir: string): string[] =>
  readFileSync(path.join(varDir, 'recorded.txt'), 'utf8').trim().split('\n');

export const requestOf = (
  sourceFile: string,
  more: Partial<CorpusBuildRequest> = {},
): CorpusBuildRequest => ({
  corpus: 'docs_kb',
  version: 'v1',
  model: 'tiny@1-fp32',
  sourceFile,
  documentTemplate: '{title}\n{text}',
  chunking: null,
  truncatedShareMax: 1,
  quantization: 'f32',
  expansionSearch: 64,
  checkpointDocuments: 50,
  ...more,
});

/** Several blocks a checkpoint, so that a kill can fall between two of them. */
const SMALL_BATCHES = { 'reembed.batch_texts_max': 16 };

export interface BuildHooks {
  readonly onCheckpoint?: (name: string) => void;
  readonly onPhase?: (phase: string) => unknown;
  readonly onDocuments?: (done: number) => void;
  readonly signal?: AbortSignal;
}

export function buildWith(
  varDir: string,
  records: BuildRecords,
  request: CorpusBuildRequest,
  hooks: BuildHooks = {},
): Promise<CorpusBuildResult> {
  return buildCorpus(request, {
    config: loadConfig({
      file: null,
      env: {},
      cwd: varDir,
      overrides: { var_dir: varDir, ...SMALL_BATCHES },
    }),
    records,
    log: pino({ level: 'silent' }),
    events: {
      onCounted: () => undefined,
      onDocuments: (done) => hooks.onDocuments?.(done),
      onPhase: (phase) => hooks.onPhase?.(phase),
      onCheckpoint: (name) => hooks.onCheckpoint?.(name),
    },
    signal: hooks.signal ?? new AbortController().signal,
  });
}

/** What a bundle holds: id → text, and that every id came once. */
export async function textsOf(bundle: Bundle): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for await (const { rows } of storedRows(bundle))
    for (const { documentId, chunk, document } of rows) {
      if (chunk > 0) continue;
      if (texts.has(documentId)) throw new Error(`${documentId} comes twice`);
      texts.set(documentId, document?.text ?? '');
    }
  return texts;
}

export const writeFeed = (file: string, lines: readonly FeedLine[]): void =>
  writeFileSync(file, feedText(lines));
export const appendFeed = (file: string, lines: readonly FeedLine[]): void =>
  appendFileSync(file, feedText(lines));
