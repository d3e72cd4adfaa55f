import { type TObject, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { sha256Hex } from '../files/hash.js';
import { isFingerprint, isModelName, isVersionName, METRICS, PRECISIONS } from '../vocabulary.js';
import { type ModelManifest, NORMALISATIONS, POOLINGS } from './manifest.js';

export const ONNX_INPUTS = ['input_ids', 'attention_mask', 'token_type_ids'] as const;
const OUTPUT_KINDS = ['sentence', 'tokens'] as const;

/** A plain file name: nothing that leads out of the folder, nothing hidden. */
const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
export const isModelFileName = (name: string): boolean => FILE_NAME.test(name) && name !== 'manifest.json';

const closed = { additionalProperties: false } as const;
const oneOf = (values: readonly string[]) => Type.Union(values.map((value) => Type.Literal(value)));
const prefix = Type.String({ maxLength: 4096 });
const positive = Type.Integer({ minimum: 1, maximum: 1 << 20 });

const MANIFEST: TObject = Type.Object(
  {
    format_version: Type.Literal(1),
    name: Type.String(),
    version: Type.String(),
    fingerprint: Type.String(),
    provider: Type.String({ minLength: 1, maxLength: 64 }),
    source: Type.String({ maxLength: 1024 }),
    dimensions: positive,
    max_tokens: positive,
    metric: oneOf(METRICS),
    pooling: oneOf(POOLINGS),
    normalisation: oneOf(NORMALISATIONS),
    query_prefix: prefix,
    document_prefix: prefix,
    precision: oneOf(PRECISIONS),
    onnx: Type.Object(
      {
        inputs: Type.Array(oneOf(ONNX_INPUTS), { minItems: 1, maxItems: 3, uniqueItems: true }),
        output: Type.String({ minLength: 1, maxLength: 256 }),
        output_kind: oneOf(OUTPUT_KINDS),
        pad_token_id: Type.Integer({ minimum: 0 }),
      },
      closed,
    ),
    files: Type.Record(
      Type.String(),
      Type.Object(
        {
          bytes: Type.Integer({ minimum: 0 }),
          sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
        },
        closed,
      ),
    ),
  },
  closed,
);

/** Name of the file's own checksum, which no fingerprint and no list of files can hold. */
const CHECKSUM = 'manifest_sha256';

/** The bytes of `manifest.json`: the fields in one order, no dates, and a checksum over them at the end. */
export function formatManifest(manifest: ModelManifest): string {
  const { format_version, name, version, fingerprint, ...rest } = manifest;
  const ordered = { format_version, name, version, fingerprint, ...rest };
  const summed = { ...ordered, [CHECKSUM]: sha256Hex(JSON.stringify(ordered)) };
  return `${JSON.stringify(summed, null, 2)}\n`;
}

/**
 * A manifest from its bytes, which must be exactly those that `formatManifest` gives.
 * `fail` makes the error to throw from a sentence that continues "manifest.json …".
 */
export function parseManifest(bytes: Uint8Array, fail: (problem: string) => Error): ModelManifest {
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    json = JSON.parse(text);
  } catch {
    // The parser's message quotes the file; where it broke says nothing that a hash would not.
    throw fail('is not JSON');
  }
  const manifest = checkFields(withoutChecksum(json), fail);
  if (formatManifest(manifest) !== text) throw fail('has another content than was imported');
  return manifest;
}

function withoutChecksum(json: unknown): unknown {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return json;
  const { [CHECKSUM]: _checksum, ...fields } = json as Record<string, unknown>;
  return fields;
}

function checkFields(json: unknown, fail: (problem: string) => Error): ModelManifest {
  const problem = Value.Errors(MANIFEST, json).First();
  if (problem) throw fail(`is not valid at ${problem.path || '/'}: ${problem.message}`);
  const manifest = json as ModelManifest;
  if (!isModelName(manifest.name)) throw fail('is not valid at /name');
  if (!isVersionName(manifest.version)) throw fail('is not valid at /version');
  if (!isFingerprint(manifest.fingerprint)) throw fail('is not valid at /fingerprint');
  const stray = Object.keys(manifest.files).find((name) => !isModelFileName(name));
  if (stray !== undefined)
    throw fail(`lists ${JSON.stringify(stray)}, which is no file name of a model folder`);
  if (manifest.pooling === 'in_graph' && manifest.onnx.output_kind === 'tokens') {
    throw fail('is not valid: a token-level output needs a pooling');
  }
  return manifest;
}
