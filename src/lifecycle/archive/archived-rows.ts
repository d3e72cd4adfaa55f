import {
  Bool,
  type Data,
  Field,
  FixedSizeList,
  Float32,
  Int32,
  Int64,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  tableToIPC,
  Utf8,
  type Vector,
  vectorFromArray,
} from 'apache-arrow';
import type { BuildBatch, BuildRow } from '../../index/build-options.js';
import type { StoredDocument } from '../../index/search-index.js';

/**
 * The rows of a build as columns that any Arrow or Parquet reader understands: `id`, `chunk`, `vector` (float32 list),
 * `text_hash` (SHA-256 of the embedded text, hex), `source_version`, `truncated`; with chunk 0 the stored fields `title`,
 * `text` and `attributes` (JSON), and `document` where those do not say all of it (then it is the whole, as JSON).
 */
const fields = (dimensions: number): Field[] => [
  new Field('id', new Utf8(), false),
  new Field('chunk', new Int32(), false),
  new Field('vector', new FixedSizeList(dimensions, new Field('item', new Float32(), false)), false),
  new Field('text_hash', new Utf8(), true),
  new Field('source_version', new Int64(), true),
  new Field('truncated', new Bool(), true),
  new Field('title', new Utf8(), true),
  new Field('text', new Utf8(), true),
  new Field('attributes', new Utf8(), true),
  new Field('document', new Utf8(), true),
];

const LONE_SURROGATE = /\p{Surrogate}/u;
const texts = (values: readonly (string | null)[]): Data =>
  vectorFromArray(values, new Utf8()).data[0] as Data;

/** Arrow IPC stream of rows. */
export function rowsToIpc({ rows, vectors }: BuildBatch, dimensions: number): Uint8Array {
  const schema = new Schema(fields(dimensions));
  const documents = rows.map(columnsOfDocument);
  const vector = makeData({
    type: schema.fields[2]?.type as FixedSizeList,
    length: rows.length,
    nullCount: 0,
    child: makeData({ type: new Float32(), length: vectors.length, nullCount: 0, data: vectors }),
  });
  const children: Data[] = [
    texts(rows.map(({ documentId }) => documentId)),
    vectorFromArray(
      rows.map(({ chunk }) => chunk),
      new Int32(),
    ).data[0] as Data,
    vector,
    texts(
      rows.map(({ provenance }) =>
        provenance === undefined ? null : Buffer.from(provenance.textHash).toString('hex'),
      ),
    ),
    vectorFromArray(
      rows.map(({ provenance }) =>
        provenance?.sourceVersion == null ? null : BigInt(provenance.sourceVersion),
      ),
      new Int64(),
    ).data[0] as Data,
    vectorFromArray(
      rows.map(({ provenance }) => provenance?.truncated ?? null),
      new Bool(),
    ).data[0] as Data,
    texts(documents.map(({ title }) => title)),
    texts(documents.map(({ text }) => text)),
    texts(documents.map(({ attributes }) => attributes)),
    texts(documents.map(({ document }) => document)),
  ];
  const batch = new RecordBatch(
    schema,
    makeData({ type: new Struct(schema.fields), length: rows.length, nullCount: 0, children }),
  );
  return tableToIPC(new Table(schema, [batch]), 'stream');
}

interface DocumentColumns {
  readonly title: string | null;
  readonly text: string | null;
  readonly attributes: string | null;
  readonly document: string | null;
}

const NO_DOCUMENT: DocumentColumns = { title: null, text: null, attributes: null, document: null };

function columnsOfDocument({ document }: BuildRow): DocumentColumns {
  if (document === undefined) return NO_DOCUMENT;
  const { title = null, text = null, attributes } = document;
  const columns = {
    title,
    text,
    attributes: attributes === undefined ? null : JSON.stringify(attributes),
    document: null,
  };
  const line = JSON.stringify(document);
  const isWhole = line === lineOf(columns) && !LONE_SURROGATE.test(`${title} ${text} ${columns.attributes}`);
  return isWhole ? columns : { ...NO_DOCUMENT, text, title, document: line };
}

/** A line of documents.jsonl as the builder writes it. */
export function lineOf({ title, text, attributes, document }: DocumentColumns): string {
  if (document !== null) return document;
  if (title === null && text === null && attributes === null) return 'null';
  return `{${[
    title === null ? '' : `"title":${JSON.stringify(title)}`,
    text === null ? '' : `"text":${JSON.stringify(text)}`,
    attributes === null ? '' : `"attributes":${attributes}`,
  ]
    .filter((part) => part !== '')
    .join(',')}}`;
}

/** Rows of a table that was read from Parquet. The vectors are copied. */
export function tableToRows(table: Table, dimensions: number): BuildBatch {
  const column = (name: string): Vector => {
    const found = table.getChild(name);
    if (found === null) throw new TypeError(`the column ${name} is missing`);
    return found;
  };
  const [ids, chunks, list] = [column('id'), column('chunk'), column('vector')];
  const [hashes, versions, cut] = [column('text_hash'), column('source_version'), column('truncated')];
  const [titles, bodies, attributes, whole] = [
    column('title'),
    column('text'),
    column('attributes'),
    column('document'),
  ];
  const vectors = new Float32Array(table.numRows * dimensions);
  const rows: BuildRow[] = [];
  for (let row = 0; row < table.numRows; row++) {
    const vector = (list.get(row) as Vector<Float32>).toArray();
    if (vector.length !== dimensions) throw new TypeError(`a vector has ${vector.length} numbers`);
    vectors.set(vector, row * dimensions);
    const hash = hashes.get(row) as string | null;
    const version = versions.get(row) as bigint | null;
    const truncated = (cut.get(row) as boolean | null) ?? false;
    const line = lineOf({
      title: titles.get(row) as string | null,
      text: bodies.get(row) as string | null,
      attributes: attributes.get(row) as string | null,
      document: whole.get(row) as string | null,
    });
    const document = line === 'null' ? null : (JSON.parse(line) as StoredDocument);
    rows.push({
      documentId: ids.get(row) as string,
      chunk: chunks.get(row) as number,
      truncated,
      ...(document === null ? {} : { document }),
      ...(hash === null
        ? {}
        : {
            provenance: {
              textHash: Buffer.from(hash, 'hex'),
              sourceVersion: version === null ? null : Number(version),
              truncated,
            },
          }),
    });
  }
  return { vectors, rows };
}
