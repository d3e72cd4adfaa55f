import { SwitchyardError } from '../../errors.js';
import { UNIGRAM_TYPE, type UnigramFile } from '../unigram.js';

/** The package's own tokenizer keeps the first six pieces (unknown, sentence marks, extra tokens) out of texts. */
const RESERVED_PIECES = 6;
const UNKNOWN_ID = 0;

/**
 * `tokenizer.json` from the package's `vocab.json`, a list of pairs of piece and score. Some scores are null there;
 * JavaScript adds null as 0, so the package's tokenizer has always read them like this, and so does the model.
 * The same vocabulary gives the same bytes. Errors: INVALID_MODEL naming the file.
 */
export function unigramTokenizerFile(vocabulary: unknown, fileName: string, piecesMax: number): Uint8Array {
  const fail = (problem: string): SwitchyardError =>
    new SwitchyardError('INVALID_MODEL', `${fileName} ${problem}`, { details: { file: fileName } });
  if (!Array.isArray(vocabulary)) throw fail('must be a list of pieces with their scores');
  if (vocabulary.length <= RESERVED_PIECES || vocabulary.length > piecesMax) {
    throw fail(
      `has ${vocabulary.length} pieces; there must be more than ${RESERVED_PIECES} and at most ${piecesMax}`,
    );
  }
  const pieces = vocabulary.map((entry: unknown, id): [string, number] => {
    const [piece, score] = Array.isArray(entry) ? (entry as readonly unknown[]) : [];
    const number = score === null ? 0 : score;
    if (typeof piece !== 'string' || piece === '' || typeof number !== 'number' || !Number.isFinite(number)) {
      throw fail(`must have a piece and a score at ${id}`);
    }
    return [piece, number];
  });
  const file: UnigramFile = {
    type: UNIGRAM_TYPE,
    format_version: 1,
    normalisation: 'NFKC',
    blank: '\u2581',
    unknown_id: UNKNOWN_ID,
    first_piece_id: RESERVED_PIECES,
    pieces,
  };
  return new TextEncoder().encode(`${JSON.stringify(file)}\n`);
}
