import { writeSync } from 'node:fs';
import { encodeAnswer } from '../../src/index/process/answer-codec.js';
import { decodeConfig, FRAME, PAYLOAD_BYTES_MAX } from '../../src/index/process/protocol.js';
import { CHANNEL_FD, openParentChannel } from '../../src/process/parent-channel.js';

/**
 * An index process with its memory overwritten: it opens as it should, and answers each search wrongly, in the way
 * that the search's top k names.
 */
const ANSWERS: Readonly<Record<number, (id: number) => unknown>> = {
  1: (id) => channel.send(FRAME.answer, id, [Buffer.from('garbage')]),
  2: (id) => channel.send(FRAME.refused, id, [Buffer.from('null')]),
  3: (id) => channel.send(FRAME.answer, id + 1, [hits(1)]),
  4: (id) => channel.send(99, id),
  5: (id) => channel.send(FRAME.answer, id, [hits(6)]),
  6: () => channel.send(FRAME.failed, 0, [Buffer.from('[]')]),
  7: () => writeSync(CHANNEL_FD, 'no frame at all'),
};

const hits = (count: number): Buffer =>
  Buffer.concat(
    encodeAnswer(
      {
        hits: Array.from({ length: count }, () => ({
          id: 'x',
          chunk: 0,
          score: 1,
          distance: 0,
          document: null,
        })),
        searchUs: 1,
      },
      false,
    ),
  );

const channel = openParentChannel({
  payloadBytesMax: PAYLOAD_BYTES_MAX,
  bufferedBytesMax: Number.POSITIVE_INFINITY,
  onFrame: ({ kind, id, payload }) => {
    if (kind === FRAME.open) {
      if (decodeConfig(payload) === null) process.exit(1);
      channel.send(FRAME.opened, 0);
    } else ANSWERS[payload.readUInt32LE(8)]?.(id);
  },
  onDrain: () => undefined,
  onParentGone: () => process.exit(0),
});
