import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { CACHE_KINDS, type CacheKind, encodeFrame, readFrame } from '../../src/cache/frame.js';
import { SHARED_KEY_LENGTH, type SharedKey } from '../../src/cache/keys.js';
import { loadConfig } from '../../src/config/load.js';
import { inspectOnnx } from '../../src/encoder/import/onnx-file.js';
import { OnnxGraphBuilder } from '../../src/encoder/import/onnx-graph.js';
import { SafetensorsFile } from '../../src/encoder/import/safetensors.js';
import { formatManifest, parseManifest } from '../../src/encoder/manifest-schema.js';
import { SwitchyardError } from '../../src/errors.js';
import { KeyGuard } from '../../src/gateway/auth/guard.js';
import { decodeBatch, decodeEmbed, decodeSearch } from '../../src/gateway/grpc/convert.js';
import {
  type BatchBody,
  type EmbedBody,
  embedInput,
  type SearchBody,
  searchInput,
} from '../../src/gateway/http/convert.js';
import { parseJsonBody } from '../../src/gateway/http/json-body.js';
import { apiSchemas } from '../../src/gateway/http/schemas.js';
import { compileStructure } from '../../src/gateway/http/structure.js';
import { checkBatch, checkEmbed, checkSearch, type SearchInput } from '../../src/gateway/limits.js';
import { parseBundleManifest } from '../../src/index/read-bundle.js';
import { readUsearchHeaderSync } from '../../src/index/usearch-header.js';
import { packageRoot } from '../../src/package-root.js';
import { encodeFrameHeader, FrameParser } from '../../src/process/frames.js';
import { EMBEDDING_CODEC } from '../../src/router/embedding-cache.js';
import { EncodedHits } from '../../src/router/encoded-hits.js';
import { RESULT_CODEC } from '../../src/router/result-cache.js';
import type { Fingerprint } from '../../src/vocabulary.js';
import { contract, f32le, LIMITS } from '../gateway/harness.js';
import { bundleManifestOf } from '../index/manifest-sample.js';
import { modelManifest } from '../router/small-manifests.js';
import { makeKey, ringOf } from '../security/keys.js';
import { adminTargets } from './admin-targets.js';
import { modelTargets } from './model-targets.js';

/** What reads bytes that others wrote. */
export interface FuzzTarget {
  readonly name: string;
  readonly cases: number;
  /** Each is accepted as it is. */
  readonly seeds: readonly Buffer[];
  /** Errors: SwitchyardError alone. */
  run(bytes: Buffer): void | Promise<void>;
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const wire = (type: string, message: object): Buffer =>
  Buffer.from(contract.lookupType(`switchyard.v1.${type}`).encode(message).finish());
const orThrow = <T>(decoded: T | SwitchyardError): T => {
  if (decoded instanceof SwitchyardError) throw decoded;
  return decoded;
};
const corrupt = (problem: string): SwitchyardError => new SwitchyardError('CORRUPT_MODEL', problem);

const TEXT = { corpus: 'docs', text: 'where is it', top_k: 3, affinity_key: 'u', with_document: true };
const VECTOR = { corpus: 'docs', model: 'words@1', corpus_version: 'v1' };
const check = (input: SearchInput): void => void checkSearch(input, LIMITS, 0);

function protoTargets(): FuzzTarget[] {
  const searches = [
    TEXT,
    { ...VECTOR, vector: { values: [1, 2] } },
    { ...VECTOR, vector: { f32le: f32le([1, 2]) } },
  ];
  return [
    {
      name: 'SearchRequest',
      cases: 30_000,
      seeds: searches.map((message) => wire('SearchRequest', message)),
      run: (bytes) => check(orThrow(decodeSearch(bytes))),
    },
    {
      name: 'BatchSearchRequest',
      cases: 10_000,
      seeds: [wire('BatchSearchRequest', { requests: searches })],
      run: (bytes) => {
        const inputs = orThrow(decodeBatch(bytes, LIMITS.batchItemsMax));
        checkBatch(inputs, LIMITS);
        for (const input of inputs) check(input);
      },
    },
    {
      name: 'EmbedRequest',
      cases: 10_000,
      seeds: [wire('EmbedRequest', { model: 'words@1', text: 'a text', input_role: 2 })],
      run: (bytes) => void checkEmbed(orThrow(decodeEmbed(bytes)), LIMITS, 0),
    },
  ];
}

function jsonTargets(): FuzzTarget[] {
  const schemas = apiSchemas(LIMITS);
  const checkSearchBody = compileStructure(schemas.SearchRequest, [schemas.Vector]);
  const checkBatchBody = compileStructure(schemas.BatchSearchRequest, [schemas.Vector]);
  const checkEmbedBody = compileStructure(schemas.EmbedRequest, []);
  const searches = [TEXT, { ...VECTOR, vector: [1, 2e-3] }, { ...VECTOR, vector: { f32le: 'AACAPw==' } }];
  return [
    {
      name: 'JSON of a search',
      cases: 20_000,
      seeds: searches.map(json),
      run: (bytes) => {
        const body = parseJsonBody(bytes);
        checkSearchBody(body);
        check(searchInput(body as SearchBody));
      },
    },
    {
      name: 'JSON of a batch',
      cases: 5_000,
      seeds: [json({ requests: searches })],
      run: (bytes) => {
        const body = parseJsonBody(bytes);
        checkBatchBody(body);
        for (const search of (body as BatchBody).requests) check(searchInput(search));
      },
    },
    {
      name: 'JSON of an embedding',
      cases: 5_000,
      seeds: [json({ model: 'words@1', text: 'a text', input_role: 'query' })],
      run: (bytes) => {
        const body = parseJsonBody(bytes);
        checkEmbedBody(body);
        checkEmbed(embedInput(body as EmbedBody), LIMITS, 0);
      },
    },
  ];
}

/** `folder`: where files that can only be read as files are written. */
function fileTargets(folder: string): FuzzTarget[] {
  const configFile = path.join(folder, 'config.yaml');
  const shipped = readFileSync(path.join(packageRoot(), 'config', 'switchyard.yaml'));
  const indexFile = openSync(path.join(folder, 'index.usearch'), 'w+');
  process.once('exit', () => closeSync(indexFile));
  return [
    {
      name: 'configuration files',
      cases: 1_500,
      seeds: [
        shipped,
        Buffer.from('listen: { http: { port: 1, auth: keys } }\nauth: { staleness_ms_max: 60000 }\n'),
      ],
      run: (bytes) => {
        writeFileSync(configFile, bytes);
        loadConfig({ file: configFile, env: {}, cwd: folder, overrides: {} });
      },
    },
    {
      name: 'settings of the environment',
      cases: 2_000,
      seeds: ['LISTEN__HTTP__PORT=8080', 'ENCODER__THREADS=2', 'LOG__LEVEL=warn'].map((line) =>
        Buffer.from(line),
      ),
      run: (bytes) => {
        const [name = '', value = ''] = bytes.toString('utf8').split('=', 2);
        loadConfig({ file: null, env: { [`SWITCHYARD_${name}`]: value }, cwd: folder, overrides: {} });
      },
    },
    {
      name: 'manifests of bundles',
      cases: 6_000,
      seeds: [json(bundleManifestOf())],
      run: (bytes) => void parseBundleManifest('docs/v1/0123456789ab', bytes),
    },
    {
      name: 'manifests of models',
      cases: 4_000,
      seeds: [Buffer.from(formatManifest(modelManifest('words')))],
      run: (bytes) => void parseManifest(bytes, corrupt),
    },
    {
      name: 'headers of index files',
      cases: 2_000,
      seeds: [usearchFile()],
      run: (bytes) => {
        ftruncateSync(indexFile, 0);
        writeSync(indexFile, bytes, 0, bytes.length, 0);
        const header = readUsearchHeaderSync(indexFile);
        if (typeof header === 'string') throw new SwitchyardError('CORRUPT_BUNDLE', header);
      },
    },
    {
      name: 'ONNX files',
      cases: 3_000,
      seeds: [onnxFile()],
      run: (bytes) => void inspectOnnx(bytes, 'model.onnx'),
    },
    {
      name: 'safetensors files',
      cases: 4_000,
      seeds: [safetensorsFile()],
      run: (bytes) => {
        const file = SafetensorsFile.parse(bytes, 'model.safetensors');
        for (const name of file.names) file.shape(name);
      },
    },
  ];
}

/** What stands in Redis: others may write there, and a sound checksum is easily made. */
function cacheTargets(): FuzzTarget[] {
  const fingerprint = `mf1_${'a'.repeat(32)}` as Fingerprint;
  const key = 'k'.repeat(SHARED_KEY_LENGTH) as SharedKey;
  const hits = [
    { id: 'a', chunk: 0, score: 0.9, distance: 0.1, document: null },
    {
      id: 'b',
      chunk: 3,
      score: 0.5,
      distance: 0.5,
      document: { title: 't', text: 'x', attributes: { y: 1 } },
    },
  ];
  const answer = Buffer.from(EncodedHits.of(hits, 300).payload);
  const vector = Buffer.from(
    EMBEDDING_CODEC.encode({ fingerprint, values: Float32Array.of(1, 2), tokenCount: 3, isTruncated: false }),
  );
  const label = (kind: 'result' | 'embedding') => ({ kind, fingerprint, key });
  const frames = {
    result: encodeFrame(label('result'), answer, 1e12),
    embedding: encodeFrame(label('embedding'), vector, 1e12),
  } as const satisfies Record<CacheKind, Buffer>;
  return [
    {
      name: 'values in Redis',
      cases: 6_000,
      seeds: Object.values(frames),
      run: (bytes) => {
        for (const kind of CACHE_KINDS) {
          const isTaken = typeof readFrame(bytes, label(kind)) !== 'string';
          if (isTaken !== bytes.equals(frames[kind]))
            throw new Error(
              `${isTaken ? 'another' : 'its own'} frame was ${isTaken ? 'taken' : 'refused'} as ${kind}`,
            );
        }
      },
    },
    {
      name: 'remembered answers',
      cases: 6_000,
      seeds: [answer],
      run: (bytes) => {
        const entry = RESULT_CODEC.decode(bytes, fingerprint);
        for (const { score, distance } of entry?.hits.decode() ?? [])
          if (!Number.isFinite(score) || !Number.isFinite(distance))
            throw new Error('a hit without a number');
      },
    },
    {
      name: 'remembered vectors',
      cases: 3_000,
      seeds: [vector],
      run: (bytes) => void EMBEDDING_CODEC.decode(bytes, fingerprint),
    },
  ];
}

const frame = (kind: number, id: number, payload: Buffer): Buffer =>
  Buffer.concat([encodeFrameHeader(kind, id, payload.length), payload]);

function otherTargets(): FuzzTarget[] {
  const key = makeKey();
  const guard = new KeyGuard(ringOf([key]), { warn: () => undefined });
  return [
    {
      name: 'authorization headers',
      cases: 5_000,
      seeds: [Buffer.from(`Bearer ${key.token}`)],
      run: (bytes) => void guard.admit(bytes.toString('latin1'), 'search'),
    },
    {
      name: 'frames of child processes',
      cases: 5_000,
      // Two each: what follows a spoilt frame is read by what was made of it.
      seeds: [
        Buffer.concat([
          frame(2, 1, Buffer.from('{"kind":"ready"}')),
          frame(255, 2 ** 32 - 1, Buffer.alloc(0)),
        ]),
        Buffer.concat([frame(3, 7, Buffer.alloc(300, 0xa5)), frame(4, 8, Buffer.from([0, 1, 2, 3]))]),
      ],
      run: (bytes) => new FrameParser(65_536).push(bytes, () => undefined),
    },
  ];
}

function onnxFile(): Buffer {
  const graph = new OnnxGraphBuilder('tiny');
  const ids = graph.input('input_ids', 'int64', ['batch', 'sequence']);
  const table = graph.weightF32(
    'table',
    [4, 2],
    Float32Array.from({ length: 8 }, (_, at) => at),
  );
  graph.output('out', graph.node('Gather', 'tokens', [table, ids]), 'float32', ['batch', 'sequence', 2]);
  return Buffer.from(graph.encode());
}

function safetensorsFile(): Buffer {
  const header = json({ a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] } });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.alloc(16)]);
}

/** As usearch 2.x begins a file: one row of 8 bytes. */
function usearchFile(): Buffer {
  const head = Buffer.alloc(64);
  head.write('usearch', 'latin1');
  head.writeUInt16LE(2, 7);
  Buffer.from([99, 11, 14, 15]).copy(head, 13);
  head.writeBigUInt64LE(1n, 17);
  head.writeBigUInt64LE(2n, 33);
  const rows = Buffer.alloc(16);
  rows.writeUInt32LE(1, 0);
  rows.writeUInt32LE(8, 4);
  const graph = Buffer.alloc(40);
  for (const [at, value] of [1n, 16n, 32n, 0n, 0n].entries()) graph.writeBigUInt64LE(value, at * 8);
  return Buffer.concat([rows, head, graph, Buffer.alloc(64)]);
}

export const fuzzTargets = (folder: string): readonly FuzzTarget[] => [
  ...protoTargets(),
  ...jsonTargets(),
  ...adminTargets(),
  ...fileTargets(folder),
  ...modelTargets(folder),
  ...cacheTargets(),
  ...otherTargets(),
];
