import { isUtf8 } from 'node:buffer';
import { SwitchyardError } from '../../errors.js';

/** The deepest request of the contract has four levels; more is refused before it costs anything. */
const DEPTH_MAX = 16;

/**
 * A request body as a JSON value. Refuses what JSON.parse accepts in silence: bytes that are not UTF-8 and an object
 * that has one key twice. `partsMax`: strings, keys, objects and arrays that it may have; three bytes are enough for one,
 * and each costs as much as a request. Errors: MALFORMED_REQUEST.
 */
export function parseJsonBody(bytes: Buffer, partsMax: number = Number.POSITIVE_INFINITY): unknown {
  if (bytes.length === 0) throw malformed('the body is empty: send a JSON object');
  if (!isUtf8(bytes)) throw malformed('the body is not valid UTF-8');
  const text = bytes.toString('utf8');
  checkStructure(text, partsMax);
  try {
    return JSON.parse(text);
  } catch (error) {
    // The parser's message quotes the body, which may hold a query text: only its class is kept.
    throw malformed(`the body is not valid JSON (${(error as Error).name})`);
  }
}

/**
 * One walk over strings and brackets, jumping from one to the next: a vector's numbers are never looked at.
 * What is not JSON at all is left to the parser.
 */
function checkStructure(text: string, partsMax: number): void {
  /** Keys seen in each open object; null for an array. */
  const open: (Set<string> | null)[] = [];
  const next = new Jump(text);
  let parts = 0;
  for (let at = next.from(0); at >= 0; ) {
    const char = text.charCodeAt(at);
    if (char !== CLOSE_BRACE && char !== CLOSE_BRACKET && ++parts > partsMax)
      throw malformed(
        `the body has more than ${partsMax} strings, objects and arrays: no request needs so many`,
      );
    if (char === QUOTE) {
      const end = stringEnd(text, at);
      if (end < 0) return;
      const keys = open[open.length - 1];
      if (keys !== undefined && keys !== null && isKey(text, end)) addKey(keys, text.slice(at, end));
      at = next.from(end);
      continue;
    }
    if (char === OPEN_BRACE || char === OPEN_BRACKET) {
      if (open.length === DEPTH_MAX) throw malformed(`the body is nested deeper than ${DEPTH_MAX} levels`);
      open.push(char === OPEN_BRACE ? new Set() : null);
    } else open.pop();
    at = next.from(at + 1);
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACE = 0x7d;
const CLOSE_BRACKET = 0x5d;
const MARKS = ['"', '{', '}', '[', ']'] as const;

/** The next quote or bracket at or after a place; each kind's position is looked up again only once it was passed. */
class Jump {
  readonly #text: string;
  readonly #ahead = MARKS.map(() => -2);

  constructor(text: string) {
    this.#text = text;
  }

  from(place: number): number {
    let nearest = -1;
    for (let kind = 0; kind < MARKS.length; kind++) {
      let at = this.#ahead[kind] as number;
      if (at !== -1 && at < place) {
        at = this.#text.indexOf(MARKS[kind] as string, place);
        this.#ahead[kind] = at;
      }
      if (at >= 0 && (nearest < 0 || at < nearest)) nearest = at;
    }
    return nearest;
  }
}

/** Place after the closing quote of the string that opens at `start`; -1 when it does not close. */
function stringEnd(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return at + 1;
  }
  return -1;
}

function isKey(text: string, place: number): boolean {
  for (let at = place; ; at++) {
    const char = text.charCodeAt(at);
    if (char === 0x20 || char === 0x0a || char === 0x0d || char === 0x09) continue;
    return char === 0x3a;
  }
}

function addKey(keys: Set<string>, quoted: string): void {
  let key = quoted.slice(1, -1);
  if (key.includes('\\')) {
    try {
      key = JSON.parse(quoted) as string;
    } catch {
      return; // Not JSON: the parser says so.
    }
  }
  if (keys.has(key)) throw malformed('the body has an object with the same key twice');
  keys.add(key);
}

const malformed = (message: string): SwitchyardError => new SwitchyardError('MALFORMED_REQUEST', message);
