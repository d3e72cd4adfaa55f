import { SwitchyardError } from '../errors.js';
import type { EncodeRequest } from './encoder.js';

/** What the contract of `EncodeRequest` promises and nobody has checked yet. */
export const TEXTS_MAX = 1024;

export const withoutTokens = (): SwitchyardError =>
  new SwitchyardError(
    'EMPTY_QUERY',
    'a text has no token under this model: its tokenizer leaves out every character of it',
  );

/** UTF-8 bytes of each text. Errors: INVALID_ARGUMENT, EMPTY_QUERY, TEXT_TOO_LARGE; none names what a text says. */
export function checkRequest(request: EncodeRequest, textBytesMax: number): Uint32Array {
  const { texts } = request;
  if (texts.length < 1 || texts.length > TEXTS_MAX)
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `${texts.length} texts in one request must be 1..${TEXTS_MAX}`,
    );
  const textBytes = new Uint32Array(texts.length);
  for (const [i, text] of texts.entries()) {
    if (text.length === 0) throw new SwitchyardError('EMPTY_QUERY', `text ${i} is empty`);
    const bytes = Buffer.byteLength(text, 'utf8');
    if (bytes > textBytesMax)
      throw new SwitchyardError(
        'TEXT_TOO_LARGE',
        `text ${i} of ${bytes} bytes must be <= ${textBytesMax}; shorten or chunk it`,
        { details: { limit: String(textBytesMax) } },
      );
    textBytes[i] = bytes;
  }
  return textBytes;
}
