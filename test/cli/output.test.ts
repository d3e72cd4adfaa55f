import t from 'tap';
import { formatAnswer, type SearchAnswer } from '../../src/cli/commands/search.js';
import { printable, table } from '../../src/cli/output.js';

const answerOf = (id: string, title: string, text: string): SearchAnswer => ({
  query_id: 'q',
  hits: [{ id, chunk: 0, score: 0.5, document: { title, text } }],
  served_by: { corpus_version: 'v1', build: 'b', model: 'm@1', route_revision: 1 },
  degraded: [],
  timings: { encode_us: 1, search_us: 1, total_us: 2 },
});

t.test('what a document holds reaches the terminal as text, never as a command', async (t) => {
  const attack = '\u001b]0;owned\u0007\u001b[2J\u009b31m\u202egnp.exe\r\n';
  const printed = formatAnswer(answerOf(`a${attack}`, `b${attack}`, `c${attack}`));
  for (const line of printed.split('\n')) t.notMatch(line, /[\p{Cc}\u202a-\u202e\u2066-\u2069]/u);
  t.equal(printed.split('\n').length, 4, 'a line end in a title makes no line');
  t.match(printed, /gnp\.exe/);
  t.notMatch(table(['reason'], [[attack]]).replace('\n', ''), /\p{Cc}/u);
});

t.test('every script, emoji and joiner is printed as it is', async (t) => {
  for (const text of ['Größe 漢字 naïve', '👩‍👩‍👧 🇩🇪', 'مرحبا बहुत', 'e\u0301'])
    t.equal(printable(text), text);
});
