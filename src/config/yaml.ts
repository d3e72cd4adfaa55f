import { type ErrorCode, LineCounter, parseDocument } from 'yaml';
import type { SwitchyardError } from '../errors.js';

/** What is mostly meant where YAML says no. Its own messages are not repeated: they quote the file, which may hold secrets. */
const MEANINGS: Readonly<Record<ErrorCode, string>> = {
  ALIAS_PROPS: 'a value that begins with * must be in quotes',
  BAD_ALIAS: 'a value that begins with * or & must be in quotes',
  BAD_COLLECTION_TYPE: 'a value that begins with ! must be in quotes',
  BAD_DIRECTIVE: 'a line must not begin with %',
  BAD_DQ_ESCAPE: 'between double quotes a backslash is written twice; between single ones once',
  BAD_INDENT: 'the indentation is wrong, or a bracket that was opened before is not closed',
  BAD_PROP_ORDER: 'a value that begins with ! or & must be in quotes',
  BAD_SCALAR_START: 'a value that begins with @, ` or % must be in quotes',
  BLOCK_AS_IMPLICIT_KEY:
    'a value that holds a colon and a space must be in quotes, or the indentation is wrong',
  BLOCK_IN_FLOW: 'between brackets there are no lists or mappings by indentation',
  DUPLICATE_KEY: 'this key stands here twice',
  IMPOSSIBLE: 'this cannot be read',
  KEY_OVER_1024_CHARS: 'a key is too long, or its colon is missing',
  MISSING_CHAR: 'a quote, a bracket, a comma or a colon is missing, maybe on a line before',
  MULTILINE_IMPLICIT_KEY: 'a colon is missing, or the indentation is wrong',
  MULTIPLE_ANCHORS: 'a value that begins with & must be in quotes',
  MULTIPLE_DOCS: 'there must be one document, without a second one after ---',
  MULTIPLE_TAGS: 'a value that begins with ! must be in quotes',
  NON_STRING_KEY: 'a key must be a word',
  RESOURCE_EXHAUSTION: 'it is nested too deeply',
  TAB_AS_INDENT: 'lines are indented by spaces, not by tabs',
  TAG_RESOLVE_FAILED: 'a value that begins with ! must be in quotes',
  UNEXPECTED_TOKEN: 'something stands behind the end of a value: put all of the value in quotes',
};
const BAD_REFERENCE =
  'a value that begins with * refers to nothing, to too much or to itself: where it is a text, put it in quotes';

const ALIASES_MAX = 100;

/**
 * The value of a YAML or JSON document. What the library only warns of is refused too: a value that begins with `!` would
 * lose that word. `refuse` gets the place and what is wrong there, and never a piece of the text.
 */
export function parseYaml(
  text: string,
  refuse: (problem: string) => SwitchyardError,
  aliasesMax = ALIASES_MAX,
): unknown {
  const lineCounter = new LineCounter();
  // Its warnings would go to standard error by themselves, with what they quote.
  const document = parseDocument(text, { lineCounter, prettyErrors: false, logLevel: 'error' });
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem !== undefined) {
    const { line, col } = lineCounter.linePos(problem.pos[0]);
    throw refuse(`line ${line}, column ${col}: ${MEANINGS[problem.code]} (${problem.code})`);
  }
  try {
    const value: unknown = document.toJS({ maxAliasCount: aliasesMax });
    JSON.stringify(value); // throws for what holds itself, which nothing behind this expects
    return value;
  } catch {
    throw refuse(BAD_REFERENCE);
  }
}
