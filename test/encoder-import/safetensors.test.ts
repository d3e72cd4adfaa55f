import fc from 'fast-check';
import t from 'tap';
import { SafetensorsFile } from '../../src/encoder/import/safetensors.js';
import { SwitchyardError } from '../../src/errors.js';

function fileOf(header: unknown, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

const entry = (dtype: string, shape: unknown, from: number, to: number): unknown => ({
  dtype,
  shape,
  data_offsets: [from, to],
});

t.test('tensors are read with their type and shape, halves exactly', async (t) => {
  const halves = Buffer.from(Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x8000, 0x7bff, 0x3555).buffer);
  const singles = Buffer.from(Float32Array.of(1.5, -2.25).buffer);
  const file = SafetensorsFile.parse(
    fileOf(
      { __metadata__: { format: 'pt' }, h: entry('F16', [2, 3], 0, 12), s: entry('F32', [2], 12, 20) },
      Buffer.concat([halves, singles]),
    ),
    'weights.safetensors',
  );
  t.same(file.names, ['h', 's']);
  t.same(file.shape('h'), [2, 3]);
  t.same([...file.float32('h')], [1, -2, 2 ** -24, -0, 65504, 0.333251953125]);
  t.same([...file.float32('s')], [1.5, -2.25]);
  t.same(file.bytes('s'), new Uint8Array(singles));
});

t.test('a damaged or hostile header is refused with the name of the file', async (t) => {
  const eight = new Uint8Array(8);
  const cases: { name: string; bytes: Uint8Array }[] = [
    { name: 'an empty file', bytes: new Uint8Array(0) },
    { name: 'a header longer than the file', bytes: fileOf({}).subarray(0, 9) },
    { name: 'an absurd header length', bytes: Buffer.alloc(16, 0xff) },
    { name: 'a header that is no JSON', bytes: fileOf('{"a":') },
    { name: 'a header that is a list', bytes: fileOf([]) },
    { name: 'an entry that is null', bytes: fileOf({ a: null }) },
    { name: 'an unknown dtype', bytes: fileOf({ a: entry('F13', [4], 0, 8) }, eight) },
    { name: 'a dtype of the prototype', bytes: fileOf({ a: entry('constructor', [4], 0, 8) }, eight) },
    { name: 'a negative size', bytes: fileOf({ a: entry('F16', [-4], 0, 8) }, eight) },
    { name: 'a fractional size', bytes: fileOf({ a: entry('F16', [4.5], 0, 8) }, eight) },
    { name: 'offsets beyond the end', bytes: fileOf({ a: entry('F16', [8], 0, 16) }, eight) },
    { name: 'offsets backwards', bytes: fileOf({ a: entry('F16', [4], 8, 0) }, eight) },
    { name: 'a shape of another size', bytes: fileOf({ a: entry('F16', [3], 0, 8) }, eight) },
    { name: 'a gap', bytes: fileOf({ a: entry('F16', [2], 4, 8) }, eight) },
    { name: 'an overlap', bytes: fileOf({ a: entry('F16', [3], 0, 6), b: entry('F16', [2], 4, 8) }, eight) },
    { name: 'bytes after the last tensor', bytes: fileOf({ a: entry('F16', [2], 0, 4) }, eight) },
  ];
  for (const { name, bytes } of cases) {
    t.throws(
      () => SafetensorsFile.parse(bytes, 'weights.safetensors'),
      { reason: 'INVALID_MODEL', message: /weights\.safetensors/, details: { file: 'weights.safetensors' } },
      name,
    );
  }
});

t.test('a tensor that is missing or no floating point one is refused', async (t) => {
  const file = SafetensorsFile.parse(
    fileOf({ a: entry('I64', [1], 0, 8) }, new Uint8Array(8)),
    'w.safetensors',
  );
  t.throws(() => file.shape('b'), { reason: 'INVALID_MODEL', message: /no tensor b/ });
  t.throws(() => file.float32('a'), { reason: 'INVALID_MODEL', message: /I64/ });
});

t.test('any bytes give a file or INVALID_MODEL, nothing else', async () => {
  const anyHeader = fc.dictionary(
    fc.constantFrom('a', 'b', '__metadata__'),
    fc.record(
      {
        dtype: fc.constantFrom('F16', 'F32', 'I8', 'X'),
        shape: fc.array(fc.oneof(fc.nat(5), fc.integer(), fc.double())),
        data_offsets: fc.array(fc.oneof(fc.nat(20), fc.integer(), fc.maxSafeInteger()), { maxLength: 3 }),
      },
      { requiredKeys: [] },
    ),
  );
  const wellFramed = fc.tuple(fc.oneof(anyHeader, fc.json()), fc.uint8Array({ maxLength: 32 }));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 64 }),
        wellFramed.map(([header, data]) => fileOf(header, data)),
      ),
      (bytes) => {
        try {
          const file = SafetensorsFile.parse(bytes, 'x');
          return file.names.every((name) => file.bytes(name).length >= 0);
        } catch (error) {
          return error instanceof SwitchyardError && error.reason === 'INVALID_MODEL';
        }
      },
    ),
    { numRuns: 500 },
  );
});
