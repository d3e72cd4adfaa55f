import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Config } from '../../../config/config.js';
import { REASONS, type Reason, SwitchyardError, toSwitchyardError } from '../../../errors.js';
import type { Registry } from '../../../registry/registry.js';
import { registryRecords } from '../../build-records.js';
import { TEXT_NORMALISATION } from '../../document-text.js';
import type { RebuildSource } from '../../rebuild.js';
import { recordBuild } from '../../record-build.js';
import { sourceFile } from '../../source/sources-folder.js';
import type { BuildRequest, Work } from '../ports.js';
import { type BuildOrder, type BuildReply, RECORDED } from './protocol.js';

type Built = Extract<BuildReply, { readonly kind: 'built' }>;

const PROGRAM = fileURLToPath(new URL('./child-main.js', import.meta.url));
const ACTOR = 'migration';
const KILL_AFTER_MS = 5_000;

/**
 * Brings a version up in a niced process of its own, whose encoder is its own too, so that what serves keeps its cores.
 * Ended with the signal or with this process; done again it goes on from its checkpoints. Errors: those of a build.
 */
export async function buildInChild(
  registry: Registry,
  config: Config,
  request: BuildRequest,
  work: Work,
): Promise<{ readonly findings: unknown }> {
  const { corpus, version } = request;
  const model = await registry.models.resolve(request.model);
  const { fingerprint } = model;
  const records = registryRecords(registry, config.bundlesDir);
  await records.begin({
    corpus,
    version,
    fingerprint,
    documentTemplate: request.documentTemplate,
    textNormalisation: TEXT_NORMALISATION,
  });
  const { varDir, modelsDir, bundlesDir, encoder, limits, reembed } = config;
  const { checkpointDocuments } = request;
  const from: RebuildSource =
    request.from.kind === 'file'
      ? { kind: 'file', file: await sourceFile(varDir, request.from.file) }
      : request.from;
  const order: BuildOrder = {
    fingerprint,
    texts:
      from.kind === 'file' ? null : await records.findBuild({ corpus, version: from.version }, from.build),
    earlier: await records.buildsOf(corpus, fingerprint),
    config: { varDir, modelsDir, bundlesDir, encoder, limits, reembed },
    request: {
      corpus,
      version,
      model: model.modelRef,
      from,
      ...(checkpointDocuments === null ? {} : { checkpointDocuments }),
      documentTemplate: request.documentTemplate,
      chunking: request.chunking,
      truncatedShareMax: request.truncatedShareMax,
      quantization: request.quantization,
      expansionSearch: request.expansionSearch,
    },
  };
  const author = { actor: ACTOR, reason: `built for the migration of ${corpus} to ${version}` };
  const built = await runChild(order, work, async (digest) => {
    await recordBuild(registry, bundlesDir, { corpus, version, digest, makeDefault: false, author });
  });
  return {
    findings: {
      built: true,
      vectors: built.rows,
      build: built.digest.slice(0, 16),
      embedding: built.embedding,
    },
  };
}

/** `record`: what was published, before the child removes what it made it of. */
async function runChild(
  order: BuildOrder,
  { signal, onProgress }: Work,
  record: (digest: string) => Promise<void>,
): Promise<Built> {
  signal.throwIfAborted();
  const child = spawn(process.execPath, [PROGRAM], { stdio: ['pipe', 'pipe', 'inherit'] });
  const end = (): void => {
    child.kill('SIGTERM');
    setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS).unref();
  };
  signal.addEventListener('abort', end, { once: true });
  child.stdin.on('error', () => undefined); // it ended; its exit says why
  child.stdin.write(`${JSON.stringify(order)}\n`);
  let total: number | null = null;
  let first: { readonly done: number; readonly atMs: number } | null = null;
  let built: Built | null = null;
  let failure: SwitchyardError | null = null;
  const recorded = async (digest: string): Promise<void> => {
    try {
      signal.throwIfAborted();
      await record(digest);
      child.stdin.write(`${RECORDED}\n`);
    } catch (error) {
      failure ??= toSwitchyardError(error);
      end();
    }
  };
  createInterface({ input: child.stdout }).on('line', (line) => {
    const reply = replyOf(line);
    if (reply === null) return;
    if (reply.kind === 'counted') total = reply.documents;
    else if (reply.kind === 'documents') {
      const { done } = reply;
      const nowMs = performance.now();
      // One that goes on from a checkpoint begins with what was embedded before: that says nothing of its speed.
      first ??= { done, atMs: nowMs };
      onProgress({
        what: 'documents embedded',
        done,
        total,
        etaMs: etaMs(done - first.done, total === null ? null : total - done, nowMs - first.atMs),
      });
    } else if (reply.kind === 'phase')
      onProgress({ what: `building: ${reply.phase}`, done: total ?? 0, total, etaMs: null });
    else if (reply.kind === 'published') void recorded(reply.digest);
    else if (reply.kind === 'built') built = reply;
    else failure = new SwitchyardError(reasonOf(reply.reason), reply.message);
  });
  const [code, killedBy] = (await once(child, 'close')) as [number | null, string | null];
  signal.removeEventListener('abort', end);
  signal.throwIfAborted();
  if (failure !== null) throw failure;
  if (built !== null && code === 0) return built;
  throw new SwitchyardError(
    'INTERNAL',
    `the building process ended with ${killedBy ?? `status ${code}`}: the log has its last words`,
  );
}

function replyOf(line: string): BuildReply | null {
  try {
    return JSON.parse(line) as BuildReply;
  } catch {
    return null; // a library that prints
  }
}

const reasonOf = (text: string): Reason => (Object.hasOwn(REASONS, text) ? (text as Reason) : 'INTERNAL');

const etaMs = (done: number, left: number | null, tookMs: number): number | null =>
  left === null || done === 0 ? null : (tookMs / done) * Math.max(0, left);
