import { PassThrough } from 'node:stream';
import t from 'tap';
import { logLines } from '../../src/process/line-log.js';
import { FakeTimers } from './fake-timers.js';

async function linesOf(chunks: readonly string[], linesPerSecondMax = 100): Promise<string[]> {
  const stream = new PassThrough();
  const lines: string[] = [];
  logLines(stream, (line) => lines.push(line), new FakeTimers(), { lineBytesMax: 10, linesPerSecondMax });
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
  await new Promise((resolve) => stream.once('end', resolve));
  return lines;
}

t.test('lines come whole however they were written, empty ones not at all', async (t) => {
  t.same(await linesOf(['ab', 'c\n\nde', 'f\r\ngh']), ['abc', 'def', 'gh']);
});

t.test('a line without an end is cut, not gathered', async (t) => {
  t.same(await linesOf(['x'.repeat(1_000), 'x'.repeat(1_000), '\nnext\n']), [
    `${'x'.repeat(10)} (cut)`,
    'next',
  ]);
});

t.test('a child that prints in a loop is counted, not passed on', async (t) => {
  const lines = await linesOf(['line\n'.repeat(50)], 5);
  t.equal(lines.length, 6);
  t.match(lines.at(-1), /45 lines dropped/);
});
