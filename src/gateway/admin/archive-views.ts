import { Type } from '@sinclair/typebox';
import { closed, count, orNull, type Plain, text } from './schema-words.js';

const time = (description: string) => Type.String({ format: 'date-time', description });

export const TrafficView = Type.Object(
  {
    corpus: Type.String(),
    version: Type.String(),
    key_name: text('Of the API key that the requests came with; empty where none was asked for.'),
    kind: text('`split`: chosen by the weights. `pinned`: the request named the version.'),
    requests: count('In the days that were asked for.'),
    last_at: time('When the last of them was counted.'),
    registered: Type.Boolean({ description: 'Whether a consumer of the version has the name of the key.' }),
  },
  { ...closed, description: 'Who searched a version, as the gateways counted it.' },
);
export type TrafficView = Plain<typeof TrafficView>;

export const ArchiveView = Type.Object(
  {
    corpus: Type.String(),
    version: Type.String(),
    build: text('Digest of the build that was archived.'),
    uri: text('Where it lies.'),
    sha256: text('Of its archive.json.'),
    archived_at: time('When it was written.'),
    verified_at: orNull(time('When every byte of it was read back last.')),
    deleted_at: orNull(time('When the serving copy was deleted.')),
    restored_at: orNull(time('When the version came back from it.')),
  },
  { ...closed, description: 'A build of a version as Parquet in an archive.' },
);
export type ArchiveView = Plain<typeof ArchiveView>;
