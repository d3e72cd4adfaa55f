import { createHmac, type KeyObject, randomBytes } from 'node:crypto';

/** `sy_<id>_<secret>`: 12 characters that name the key, 64 hex digits that nobody can guess. */
const FORM = /^sy_([0-9a-z]{12})_[0-9a-f]{64}$/;
const SECRET_BYTES = 32;
const ID_LETTERS = '0123456789abcdefghijklmnopqrstuvwxyz';
const ID_LENGTH = 12;
/** Place of the id within a key. */
const ID_AT = 3;
const TOKEN_LENGTH = ID_AT + ID_LENGTH + 1 + SECRET_BYTES * 2;

export const KEY_ID_PATTERN = '^[0-9a-z]{12}$';
const KEY_ID = new RegExp(KEY_ID_PATTERN);
export const isKeyId = (text: string): boolean => KEY_ID.test(text);

/** The id that a presented key claims; null for anything that is no key. */
export function claimedKeyId(token: string): string | null {
  return token.length === TOKEN_LENGTH && FORM.test(token) ? token.slice(ID_AT, ID_AT + ID_LENGTH) : null;
}

export interface MintedKey {
  readonly keyId: string;
  /** The whole key: shown once, kept nowhere. */
  readonly token: string;
}

export function mintKey(): MintedKey {
  const keyId = Array.from(randomBytes(ID_LENGTH), (byte) => ID_LETTERS[byte % ID_LETTERS.length]).join('');
  return { keyId, token: `sy_${keyId}_${randomBytes(SECRET_BYTES).toString('hex')}` };
}

/** What is stored of a key: 32 bytes that give nothing away without the secret. */
export const keyHmac = (secret: KeyObject, token: string): Buffer =>
  createHmac('sha256', secret).update(token).digest();
