import { Type } from '@sinclair/typebox';
import { operation } from './operation.js';
import { author, build, corpus, limit, version } from './router-operations.js';
import { closed, oneOf, text } from './schema-words.js';
import {
  BuildView,
  ChangeView,
  ConsumerView,
  CorpusVersionView,
  GatewayView,
  ModelView,
  StorageView,
} from './views.js';

/** Names the default build where a build is asked for; no digest reads so. */
export const DEFAULT_BUILD = 'default';
export const SETTABLE_MODEL_STATUSES = ['active', 'deprecated', 'archived'] as const;
const model = text('name@version or fingerprint.');
const UNKNOWN_VERSION = ['UNKNOWN_CORPUS', 'UNKNOWN_CORPUS_VERSION'] as const;

const MODELS = {
  listModels: operation({
    method: 'GET',
    address: '/v1/models',
    summary: 'Registered models, and what encodes them in this process.',
    input: Type.Object({}, closed),
    output: Type.Array(ModelView),
    envelope: 'models',
    reasons: [],
  }),
  getModel: operation({
    method: 'GET',
    address: '/v1/models/{model}',
    summary: 'One model.',
    input: Type.Object({ model }, closed),
    output: ModelView,
    reasons: ['UNKNOWN_MODEL'],
  }),
  registerModel: operation({
    method: 'POST',
    address: '/v1/models',
    summary:
      'Register the model that lies in the models folder under this fingerprint, once every byte of it was hashed again. The same again changes nothing.',
    input: Type.Object({ fingerprint: text('Names its folder, mf1_ + 32 hex.'), ...author }, closed),
    output: ModelView,
    reasons: ['UNKNOWN_MODEL', 'CORRUPT_MODEL', 'INVALID_MODEL', 'ALREADY_EXISTS', 'STATUS_CONFLICT'],
  }),
  setModelStatus: operation({
    method: 'PATCH',
    address: '/v1/models/{model}',
    summary: 'staging → active ↔ deprecated → archived; archived is final.',
    input: Type.Object({ model, status: oneOf(SETTABLE_MODEL_STATUSES), ...author }, closed),
    output: ModelView,
    reasons: ['UNKNOWN_MODEL', 'STATUS_CONFLICT'],
  }),
};

const CORPORA = {
  listCorpusVersions: operation({
    method: 'GET',
    address: '/v1/corpora',
    alsoAt: '/v1/corpora/{corpus}/versions',
    summary: 'Corpus versions.',
    input: Type.Object({ corpus: Type.Optional(text('Of this corpus only.')) }, closed),
    output: Type.Array(CorpusVersionView),
    envelope: 'corpus_versions',
    reasons: [],
  }),
  beginCorpusVersion: operation({
    method: 'PUT',
    address: '/v1/corpora/{corpus}/versions/{version}',
    summary:
      'Begin a version as `building`, or begin it again: the same model, template and normalisation clear a failure and change nothing else.',
    input: Type.Object(
      {
        corpus,
        version,
        model,
        document_template: text('What is embedded of a document.'),
        text_normalisation: text('What was done to its text before.'),
        ...author,
      },
      closed,
    ),
    output: CorpusVersionView,
    reasons: ['UNKNOWN_MODEL', 'ALREADY_EXISTS', 'STATUS_CONFLICT'],
  }),
  failCorpusVersion: operation({
    method: 'POST',
    address: '/v1/corpora/{corpus}/versions/{version}:fail',
    summary: 'Note why a build failed. A version that has builds is left as it is.',
    input: Type.Object({ corpus, version, failure: text('Why.'), ...author }, closed),
    output: CorpusVersionView,
    reasons: UNKNOWN_VERSION,
  }),
  archiveCorpusVersion: operation({
    method: 'POST',
    address: '/v1/corpora/{corpus}/versions/{version}:archive',
    summary: 'Take a version out of service for good; it must be in no route.',
    input: Type.Object({ corpus, version, ...author }, closed),
    output: CorpusVersionView,
    reasons: [...UNKNOWN_VERSION, 'STATUS_CONFLICT'],
  }),
  listBuilds: operation({
    method: 'GET',
    address: '/v1/corpora/{corpus}/builds',
    summary: 'Builds of a corpus.',
    input: Type.Object({ corpus, version: Type.Optional(text('Of this version only.')) }, closed),
    output: Type.Array(BuildView),
    envelope: 'builds',
    reasons: [],
  }),
  getBuild: operation({
    method: 'GET',
    address: '/v1/corpora/{corpus}/versions/{version}/builds/{build}',
    summary: 'One build.',
    input: Type.Object(
      { corpus, version, build: text('Digest or at least 8 characters of it, or `default`.') },
      closed,
    ),
    output: BuildView,
    reasons: [...UNKNOWN_VERSION, 'UNKNOWN_BUILD'],
  }),
  recordBuild: operation({
    method: 'POST',
    address: '/v1/corpora/{corpus}/builds',
    summary:
      'Record the bundle that lies in the bundles folder under this digest, once every file of it was hashed and it agrees with its model. The first build of a version makes it `ready`.',
    input: Type.Object(
      {
        corpus,
        version,
        digest: text('SHA-256 of its manifest, 64 hex; names its folder.'),
        make_default: Type.Optional(
          Type.Boolean({ default: false, description: 'Also of a version that has a default build.' }),
        ),
        ...author,
      },
      closed,
    ),
    output: BuildView,
    reasons: [
      ...UNKNOWN_VERSION,
      'UNKNOWN_BUILD',
      'CORRUPT_BUNDLE',
      'FINGERPRINT_MISMATCH',
      'ALREADY_EXISTS',
      'STATUS_CONFLICT',
    ],
  }),
  setDefaultBuild: operation({
    method: 'PUT',
    address: '/v1/corpora/{corpus}/versions/{version}/default-build',
    summary: 'Make a build the one that routes take when they name none.',
    input: Type.Object({ corpus, version, build, ...author }, closed),
    output: BuildView,
    reasons: [...UNKNOWN_VERSION, 'UNKNOWN_BUILD'],
  }),
};

const CONSUMERS = {
  listConsumers: operation({
    method: 'GET',
    address: '/v1/consumers',
    summary: 'Services that depend on a corpus version.',
    input: Type.Object({ corpus: Type.Optional(text('Of this corpus only.')) }, closed),
    output: Type.Array(ConsumerView),
    envelope: 'consumers',
    reasons: [],
  }),
  addConsumer: operation({
    method: 'POST',
    address: '/v1/consumers',
    summary: 'Register a service as depending on a corpus version.',
    input: Type.Object(
      {
        corpus,
        version,
        service_name: Type.String(),
        team_owner: Type.String(),
        migration_deadline: Type.Optional(text('ISO 8601 date or time.')),
        uses_score_thresholds: Type.Optional(
          Type.Boolean({ default: false, description: 'It is warned before another model serves it.' }),
        ),
        ...author,
      },
      closed,
    ),
    output: ConsumerView,
    reasons: [...UNKNOWN_VERSION, 'ALREADY_EXISTS'],
  }),
  setConsumerMigrated: operation({
    method: 'PATCH',
    address: '/v1/consumers/{consumer_id}',
    summary: 'Note that a service has left its corpus version, or has not after all.',
    input: Type.Object({ consumer_id: Type.String(), migrated: Type.Boolean(), ...author }, closed),
    output: ConsumerView,
    reasons: ['UNKNOWN_CONSUMER'],
  }),
};

export const REGISTRY_OPERATIONS = {
  ...MODELS,
  ...CORPORA,
  ...CONSUMERS,
  listGateways: operation({
    method: 'GET',
    address: '/v1/gateways',
    summary: 'Replicas: what each has applied and loaded, and when it last said so.',
    input: Type.Object({}, closed),
    output: Type.Array(GatewayView),
    envelope: 'gateways',
    reasons: [],
  }),
  listChanges: operation({
    method: 'GET',
    address: '/v1/changes',
    summary: 'The audit of everything but routes, whose revisions are their own.',
    input: Type.Object(
      { subject: Type.Optional(text('Of this subject only, e.g. `model minilm@1`.')), limit },
      closed,
    ),
    output: Type.Array(ChangeView),
    envelope: 'changes',
    reasons: [],
  }),
  getStorage: operation({
    method: 'GET',
    address: '/v1/storage',
    summary: 'Where this process looks for models and bundles.',
    input: Type.Object({}, closed),
    output: StorageView,
    reasons: [],
  }),
};
