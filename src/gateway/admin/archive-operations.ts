import { Type } from '@sinclair/typebox';
import { ARCHIVE_STEPS } from '../../registry/schema.js';
import { ArchiveView, TrafficView } from './archive-views.js';
import { operation } from './operation.js';
import { author, corpus, version } from './router-operations.js';
import { closed, oneOf, text } from './schema-words.js';

const ofCorpus = Type.Optional(text('Of this corpus only.'));
const ofVersion = Type.Optional(text('Of this version only; with corpus.'));

/** Who uses a version, and where it lies once nobody does. */
export const ARCHIVE_OPERATIONS = {
  listTraffic: operation({
    method: 'GET',
    address: '/v1/traffic',
    summary: 'Requests by corpus version and API key, as the gateways counted them.',
    input: Type.Object(
      {
        corpus: ofCorpus,
        version: ofVersion,
        days: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 365,
            description: 'Whose last request is no older. Default: 30.',
          }),
        ),
      },
      closed,
    ),
    output: Type.Array(TrafficView),
    envelope: 'traffic',
    reasons: [],
  }),
  listArchives: operation({
    method: 'GET',
    address: '/v1/archives',
    summary: 'Archives of corpus versions, latest first.',
    input: Type.Object({ corpus: ofCorpus, version: ofVersion }, closed),
    output: Type.Array(ArchiveView),
    envelope: 'archives',
    reasons: [],
  }),
  recordArchive: operation({
    method: 'POST',
    address: '/v1/archives',
    summary: 'Record an archive that was written whole. The same again changes nothing.',
    input: Type.Object(
      {
        corpus,
        version,
        build: text('Digest of the build that was archived, 64 hex.'),
        uri: text('Where it lies.'),
        sha256: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'Of its archive.json.' }),
        ...author,
      },
      closed,
    ),
    output: ArchiveView,
    reasons: ['UNKNOWN_CORPUS', 'UNKNOWN_CORPUS_VERSION', 'UNKNOWN_BUILD'],
  }),
  noteArchive: operation({
    method: 'PATCH',
    address: '/v1/archives',
    summary:
      'Note that an archive was verified, that the serving copy was deleted, or that the version came back from it, which makes an archived version ready again.',
    input: Type.Object(
      { uri: text('Of a recorded archive.'), step: oneOf(ARCHIVE_STEPS), ...author },
      closed,
    ),
    output: ArchiveView,
    reasons: ['UNKNOWN_ARCHIVE', 'STATUS_CONFLICT'],
  }),
};
