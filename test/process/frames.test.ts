import fc from 'fast-check';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { encodeFrameHeader, FRAME_HEADER_BYTES, FrameParser } from '../../src/process/frames.js';

const PAYLOAD_BYTES_MAX = 2_000;

interface PlainFrame {
  readonly kind: number;
  readonly id: number;
  readonly payload: string;
}

const frames = fc.array(
  fc.record({
    kind: fc.integer({ min: 0, max: 255 }),
    id: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString('hex')),
  }),
  { maxLength: 12 },
);

const bytesOf = (list: readonly PlainFrame[]): Buffer =>
  Buffer.concat(
    list.flatMap(({ kind, id, payload }) => {
      const body = Buffer.from(payload, 'hex');
      return [encodeFrameHeader(kind, id, body.length), body];
    }),
  );

/** Cuts at the given places, in whatever order and however often they come. */
function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, i) => bytes.subarray(places[i], end));
}

function parse(chunks: readonly Buffer[]): { frames: PlainFrame[]; error: unknown } {
  const parser = new FrameParser(PAYLOAD_BYTES_MAX);
  const read: PlainFrame[] = [];
  try {
    for (const chunk of chunks)
      parser.push(chunk, ({ kind, id, payload }) =>
        read.push({ kind, id, payload: payload.toString('hex') }),
      );
  } catch (error) {
    return { frames: read, error };
  }
  return { frames: read, error: null };
}

t.test('any split of a stream gives the same frames', async (t) => {
  fc.assert(
    fc.property(frames, fc.array(fc.nat(), { maxLength: 20 }), (list, cuts) => {
      const result = parse(split(bytesOf(list), cuts));
      t.same(result.frames, list);
      t.equal(result.error, null);
    }),
    { numRuns: 300 },
  );
});

t.test('frames before garbage are read, the garbage is a catalogued error, whatever the split', async (t) => {
  const garbage = fc
    .uint8Array({ minLength: FRAME_HEADER_BYTES, maxLength: 64 })
    .filter((b) => b[0] !== 0x57);
  fc.assert(
    fc.property(frames, garbage, fc.array(fc.nat(), { maxLength: 20 }), (list, noise, cuts) => {
      const { frames: read, error } = parse(split(Buffer.concat([bytesOf(list), Buffer.from(noise)]), cuts));
      t.same(read, list);
      t.ok(error instanceof SwitchyardError && error.reason === 'INTERNAL');
    }),
  );
});

t.test('any bytes give frames or a catalogued error, and never more held back than one frame', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }), (chunks) => {
      const parser = new FrameParser(PAYLOAD_BYTES_MAX);
      try {
        for (const chunk of chunks) parser.push(Buffer.from(chunk), () => undefined);
      } catch (error) {
        if (!(error instanceof SwitchyardError)) throw error;
      }
      t.ok(parser.pendingBytes <= PAYLOAD_BYTES_MAX + FRAME_HEADER_BYTES);
    }),
  );
});

t.test('a length beyond the bound is an error that names both, at once and for ever after', async (t) => {
  const parser = new FrameParser(PAYLOAD_BYTES_MAX);
  const header = encodeFrameHeader(1, 1, 0xffff_ffff);
  const wrong = {
    reason: 'INTERNAL',
    message: `a frame of 4294967295 bytes must be <= ${PAYLOAD_BYTES_MAX}`,
  };
  t.throws(() => parser.push(header, () => t.fail('no frame')), wrong);
  t.throws(() => parser.push(encodeFrameHeader(1, 1, 0), () => t.fail('no frame')), wrong);
  t.equal(parser.pendingBytes, 0);
});

t.test('a frame of the largest size passes, one byte more does not', async (t) => {
  const payload = Buffer.alloc(PAYLOAD_BYTES_MAX, 7);
  t.equal(
    parse([encodeFrameHeader(3, 9, payload.length), payload]).frames[0]?.payload,
    payload.toString('hex'),
  );
  t.ok(parse([encodeFrameHeader(3, 9, PAYLOAD_BYTES_MAX + 1)]).error instanceof SwitchyardError);
});
