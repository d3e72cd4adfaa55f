import { Type } from '@sinclair/typebox';
import { KEY_ROLES } from '../../registry/schema.js';
import { KeyView, NewKeyView } from './key-views.js';
import { operation } from './operation.js';
import { author } from './router-operations.js';
import { closed, count, oneOf, text } from './schema-words.js';

const key_id = text('As the list of keys shows it.');
const expires = (absent: string) => Type.Optional(text(`ISO 8601 date or time. Absent: ${absent}.`));
/** Who may make keys may do everything else: operators may not, and nobody where no key is asked for. */
const access = 'administer';

export const KEY_OPERATIONS = {
  listKeys: operation({
    method: 'GET',
    address: '/v1/keys',
    summary: 'API keys by creation, the ended ones too, without what they are.',
    input: Type.Object({}, closed),
    output: Type.Array(KeyView),
    envelope: 'keys',
    reasons: [],
    access,
  }),
  createKey: operation({
    method: 'POST',
    address: '/v1/keys',
    summary: 'Make a key. The answer is the only one that has it.',
    input: Type.Object(
      {
        name: text('Whose it is.'),
        role: oneOf(KEY_ROLES),
        corpora: Type.Optional(
          Type.Array(Type.String(), { description: 'That a search key may search; absent or empty: all.' }),
        ),
        requests_per_s: Type.Optional(count('Its rate limit in each gateway.')),
        concurrency_max: Type.Optional(count('Its requests open at once in each gateway.')),
        expires_at: expires('in a year'),
        ...author,
      },
      closed,
    ),
    output: NewKeyView,
    reasons: [],
    access,
  }),
  rotateKey: operation({
    method: 'POST',
    address: '/v1/keys/{key_id}:rotate',
    summary: 'Make a key with the rights of another, which goes on for a while.',
    input: Type.Object(
      {
        key_id,
        overlap_s: Type.Optional(count('Seconds that the old key goes on. Absent: a day.')),
        expires_at: expires('it lives as long as the old one was to live'),
        ...author,
      },
      closed,
    ),
    output: NewKeyView,
    reasons: ['UNKNOWN_KEY', 'STATUS_CONFLICT'],
    access,
  }),
  revokeKey: operation({
    method: 'POST',
    address: '/v1/keys/{key_id}:revoke',
    summary: 'End a key now, everywhere within auth.staleness_ms_max.',
    input: Type.Object({ key_id, ...author }, closed),
    output: KeyView,
    reasons: ['UNKNOWN_KEY'],
    access,
  }),
};
