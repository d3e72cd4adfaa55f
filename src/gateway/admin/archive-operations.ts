import { Type } from '@sinclair/typebox';
import { ARCHIVE_STEPS } from '../../registry/schema.js';
import { ArchiveView, RetirementView, TrafficView } from './archive-views.js';
import { operation } from './operation.js';
import { author, corpus, version } from './router-operations.js';
import { closed, oneOf, text } from './schema-words.js';

const UNKNOWN = ['UNKNOWN_CORPUS', 'UNKNOWN_CORPUS_VERSION'] as const;
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
  retireCorpusVersion: operation({
    method: 'POST',
    address: '/v1/corpora/{corpus}/versions/{version}:retire',
    summary:
      'Have a gateway take a version out of service for good: drain, archive, verify the archive, delete the serving copy. Answers at once; one that is under way is given back, and one that failed goes on where it was.',
    input: Type.Object(
      {
        corpus,
        version,
        quiet_days: Type.Optional(
          Type.Number({
            minimum: 0,
            maximum: 3_650,
            description: 'Days without a request; 0: that is not asked. Absent: retire.quiet_days.',
          }),
        ),
        ...author,
      },
      closed,
    ),
    output: RetirementView,
    reasons: [...UNKNOWN, 'VERSION_IN_USE', 'STATUS_CONFLICT'],
  }),
  getRetirement: operation({
    method: 'GET',
    address: '/v1/corpora/{corpus}/versions/{version}/retirement',
    summary: 'The latest retirement of a version: what is done of it, and why it failed or waits.',
    input: Type.Object({ corpus, version }, closed),
    output: RetirementView,
    reasons: [...UNKNOWN, 'UNKNOWN_RETIREMENT'],
  }),
  cancelRetirement: operation({
    method: 'POST',
    address: '/v1/corpora/{corpus}/versions/{version}/retirement:cancel',
    summary: 'Stop a retirement, for as long as the version is not archived.',
    input: Type.Object({ corpus, version, ...author }, closed),
    output: RetirementView,
    reasons: [...UNKNOWN, 'UNKNOWN_RETIREMENT', 'STATUS_CONFLICT'],
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
