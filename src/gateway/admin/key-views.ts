import { Type } from '@sinclair/typebox';
import { KEY_ROLES } from '../../registry/schema.js';
import { closed, count, oneOf, orNull, type Plain, text, time } from './schema-words.js';

const fields = {
  key_id: text('Names the key; no secret.'),
  name: text('Whose it is.'),
  role: oneOf(KEY_ROLES),
  corpora: Type.Array(Type.String(), {
    description: 'Of a search key: those it may search; empty: all.',
  }),
  state: oneOf(['valid', 'expired', 'revoked']),
  requests_per_s: orNull(count("In each gateway; null: the gateway's default.")),
  concurrency_max: orNull(count("Open at once in each gateway; null: the gateway's default.")),
  created_at: time('When it was made.'),
  expires_at: time('When it ends.'),
  revoked_at: orNull(time('When it was revoked.')),
  replaced_by: orNull(text('The key that a rotation made in its place.')),
};

export const KeyView = Type.Object(fields, {
  ...closed,
  description: 'An API key, without what it is.',
});
export type KeyView = Plain<typeof KeyView>;

export const NewKeyView = Type.Object(
  { ...fields, key: text('The key itself: shown this once and kept nowhere.') },
  { ...closed, description: 'An API key that was just made.' },
);
export type NewKeyView = Plain<typeof NewKeyView>;
