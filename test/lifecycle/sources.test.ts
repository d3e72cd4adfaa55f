import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Field, FixedSizeList, Float32, List, Table, tableToIPC, Utf8, vectorFromArray } from 'apache-arrow';
import fc from 'fast-check';
import { Table as ParquetTable, WriterPropertiesBuilder, writeParquet } from 'parquet-wasm';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { checkChunking, chunkText } from '../../src/lifecycle/chunking.js';
import { compileTemplate, DEFAULT_DOCUMENT_TEMPLATE } from '../../src/lifecycle/document-text.js';
import type { DocumentSource, SourceDocument } from '../../src/lifecycle/source/document.js';
import { openSource } from '../../src/lifecycle/source/open.js';

async function readAll(source: DocumentSource): Promise<SourceDocument[]> {
  const documents: SourceDocument[] = [];
  for await (const document of source.documents()) documents.push(document);
  return documents;
}

const read = async (file: string): Promise<SourceDocument[]> => readAll(await openSource(file));

t.test('JSON lines are read with empty lines, CRLF and without a last line end', async (t) => {
  const folder = t.testdir({
    'a.jsonl': '{"id":"1","text":"one","title":"T","attributes":{"k":2}}\r\n\n{"id":"2","text":"zwei ü"}',
  });
  t.same(await read(path.join(folder, 'a.jsonl')), [
    { id: '1', text: 'one', title: 'T', attributes: { k: 2 }, vector: null },
    { id: '2', text: 'zwei ü', title: null, attributes: null, vector: null },
  ]);
});

t.test('a bad line is refused with its file and number', async (t) => {
  const cases: [string | Buffer, RegExp][] = [
    ['{"id":"1","text":"x"}\n{"id":', /a\.jsonl:2: is not valid JSON/],
    ['[]', /a\.jsonl:1: must be a JSON object/],
    ['{"id":7,"text":"x"}', /id must be a non-empty string/],
    ['{"id":"1","text":"  "}', /text must be a non-empty string/],
    ['{"id":"1","text":"x","tags":[]}', /unknown field "tags".*attributes/],
    [`{"id":"${'x'.repeat(513)}","text":"x"}`, /id of 513 bytes must be <= 512/],
    ['{"id":"1","text":"x","vector":[1,"2"]}', /vector\[1\] is not a number/],
    [Buffer.from([0x7b, 0xff, 0xfe]), /is not valid UTF-8/],
  ];
  for (const [content, message] of cases) {
    const file = path.join(t.testdir({}), 'a.jsonl');
    writeFileSync(file, content);
    await t.rejects(read(file), { reason: 'INVALID_INPUT_FILE', message });
  }
});

t.test('any bytes as JSON lines give documents or a catalogued error, nothing else', async (t) => {
  const file = path.join(t.testdir({}), 'a.jsonl');
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      writeFileSync(file, bytes);
      try {
        await read(file);
      } catch (error) {
        if (!(error instanceof SwitchyardError)) throw error;
      }
    }),
    { numRuns: 300, seed: 11 },
  );
  t.pass();
});

t.test('Parquet brings the same documents, with vectors as lists or fixed-size lists', async (t) => {
  const ids = Array.from({ length: 2500 }, (_, at) => `d${at}`);
  const item = new Field('item', new Float32(), true);
  for (const type of [new FixedSizeList(3, item), new List(item)]) {
    const table = new Table({
      id: vectorFromArray(ids, new Utf8()),
      text: vectorFromArray(
        ids.map((id) => `text of ${id}`),
        new Utf8(),
      ),
      attributes: vectorFromArray(
        ids.map((_, at) => (at === 1 ? '{"k":[1]}' : null)),
        new Utf8(),
      ),
      vector: vectorFromArray(
        ids.map((_, at) => [at, 1, 0.5]),
        type,
      ),
    });
    const file = path.join(t.testdir({}), 'a.parquet');
    const properties = new WriterPropertiesBuilder().setMaxRowGroupSize(1000).build();
    writeFileSync(file, writeParquet(ParquetTable.fromIPCStream(tableToIPC(table, 'stream')), properties));
    const source = await openSource(file);
    t.equal(source.hasVectors, true);
    const documents = await readAll(source);
    t.equal(documents.length, ids.length);
    t.same(documents[1], {
      id: 'd1',
      text: 'text of d1',
      title: null,
      attributes: { k: [1] },
      vector: Float32Array.of(1, 1, 0.5),
    });
    t.same(documents.at(-1)?.vector, Float32Array.of(2499, 1, 0.5));
  }
});

t.test('a damaged Parquet file, an unknown ending and an absent file are refused by name', async (t) => {
  const folder = t.testdir({ 'a.parquet': 'PAR1 not really PAR1', 'a.csv': 'id,text' });
  await t.rejects(read(path.join(folder, 'a.parquet')), {
    reason: 'INVALID_INPUT_FILE',
    message: /a\.parquet/,
  });
  await t.rejects(read(path.join(folder, 'a.csv')), { message: /must end in \.jsonl/ });
  await t.rejects(read(path.join(folder, 'absent.jsonl')), { message: /does not exist/ });
});

t.test('a template puts title, text and attributes together and drops what is missing', async (t) => {
  const render = compileTemplate(DEFAULT_DOCUMENT_TEMPLATE);
  const document = { title: 'A', text: ' b ', attributes: { lang: 'en' } };
  t.equal(render(document), 'A\nb');
  t.equal(render({ ...document, title: null }), 'b');
  t.equal(compileTemplate('{attributes.lang}: {text}')(document), 'en: b');
  t.equal(compileTemplate('{attributes.toString}{text}')(document), 'b');
  t.equal(
    render({ title: '$& $1', text: '{title}', attributes: null }),
    '$& $1\n{title}',
    'values are not templates',
  );
  t.throws(() => compileTemplate('{body}'), { reason: 'INVALID_ARGUMENT', message: /\{body\}/ });
  t.throws(() => compileTemplate('{title}'), { message: /must contain \{text\}/ });
});

t.test('chunks cover every word in order, stay within the limit, and overlap', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.stringMatching(/^[a-z]{1,12}$/), { minLength: 1, maxLength: 120 }),
      fc.integer({ min: 8, max: 40 }),
      fc.nat(4),
      (words, tokensMax, overlapTokens) => {
        const count = (word: string): number => Math.ceil(word.trim().length / 3);
        const chunks = chunkText(words.join(' '), checkChunking({ tokensMax, overlapTokens }), count);
        const pieces = chunks.map((chunk) => chunk.split(' '));
        if (pieces.some((piece) => piece.reduce((sum, word) => sum + count(word), 0) > tokensMax))
          return false;
        let next = 0;
        for (const piece of pieces) {
          let at = next;
          while (at > 0 && words.slice(at, at + piece.length).join(' ') !== piece.join(' ')) at--;
          if (words.slice(at, at + piece.length).join(' ') !== piece.join(' ') || at + piece.length <= next)
            return false;
          next = at + piece.length;
        }
        return next === words.length;
      },
    ),
    { numRuns: 300, seed: 5 },
  );
  t.same(
    chunkText('a b c d e f g h i j', { tokensMax: 4, overlapTokens: 1 }, () => 1),
    ['a b c d', 'd e f g', 'g h i j'],
  );
  t.throws(() => checkChunking({ tokensMax: 10, overlapTokens: 6 }), {
    reason: 'INVALID_ARGUMENT',
    message: /half the chunk, 5/,
  });
});
