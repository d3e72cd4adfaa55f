import t from 'tap';
import { htmlParts, markdownParts, report, worstReads } from './reporting.js';

t.test('the Markdown page says all of it, part by part', async (t) => {
  const { markdown } = report();
  const parts = markdownParts(markdown);
  t.same(
    [...parts.keys()],
    [
      '',
      'Consumers with score thresholds',
      'Weights',
      'Quality',
      'Served',
      'Analyses',
      'Worst queries, before and after',
      'Everything that happened',
    ],
  );
  const part = (name: string): string => parts.get(name) ?? '';
  t.match(part(''), /^# Migration of docs: v1 → v2\n\n\*\*aborted: service_time: p95 /);
  t.match(part(''), /begun 2026-11-26 07:00:00 UTC by ada: a better model\. It took 91\.0 s\./);
  t.match(part(''), /Every live replica served v1 again 82 ms after the return\./);
  t.match(part('Consumers with score thresholds'), /- set them anew &lt;img/);
  t.equal(
    part('Weights').trim(),
    [
      '| from (UTC) | weight of v2 |',
      '|---|---|',
      '| 2026-11-26 07:00:00 | 0 % |',
      '| 2026-11-26 07:00:41 | 10 % |',
      '| 2026-11-26 07:00:51 | 50 % |',
      '| 2026-11-26 07:01:30 | 0 % |',
    ].join('\n'),
  );
  t.match(
    part('Quality'),
    '| faq@3 | ndcg@10 | 0.401 | 0.443 | 0.013 … 0.071 (98 %) | 412 | 0.912 / 0.876 | better |',
  );
  t.match(part('Quality'), '\n> judged@10 is &lt;low>');
  t.match(part('Served'), '| version | answered | failed | p50 ms | p95 ms | p99 ms |');
  t.match(part('Served'), /^\| v1 \| 480 \| 3 \| [34]\.\d\d \| [34]\.\d\d \| [34]\.\d\d \|$/m);
  t.match(part('Served'), /^\| v2 \| 117 \| 5 \| [89]\d\.\d \| [89]\d\.\d \| [89]\d\.\d \|$/m);
  t.match(
    part('Analyses'),
    /^\| analysis \(golden, shadow\) \| successful \| golden: successful \| ndcg@10 0\.443 against 0\.401/m,
  );
  t.match(part('Analyses'), /^\| analysis \(service_time\) \| failed \| service_time: failed \| p95 /m);
  const worst = part('Worst queries, before and after');
  t.match(worst, '| query | metric | v1 | v2 |');
  t.match(worst, /^\| which cat is golden .* \| ndcg@10 \| 0\.987 \| 0\.123 \|$/m);
  t.match(worst, '| another lost one | ndcg@10 | 0.654 | 0.321 |');
  t.match(worst, '| query | RBO | first of v1 | first of v2 |');
  t.match(worst, '| 0.000 | old-1 old-&lt;b>2 | new-1 new-2 |');
  const happened = part('Everything that happened').trim().split('\n');
  t.equal(happened.length, 2 + 12, 'a row an event');
  t.match(happened[2], '| 2026-11-26 07:00:00 | started | running | verify |  | ada | a better model |');
  t.match(happened[7], /^\| .* \| route_placed \| running \| set_weight 10 % \| 13 \| &lt;script>eve/);
  t.match(happened.at(-1), /\| settled \| aborted \| analysis \(service_time\) \|/);
});

t.test('the HTML page says all of it, with plots of what it says', async (t) => {
  const { html } = report();
  const parts = htmlParts(html);
  t.same(
    [...parts.keys()],
    [
      '',
      'Consumers with score thresholds',
      'Weights over time',
      'Quality',
      'Latency of served requests',
      'Analyses',
      'Worst queries, before and after',
      'Everything that happened',
    ],
  );
  const part = (name: string): string => parts.get(name) ?? '';
  t.match(part(''), '<dt>outcome</dt><dd>aborted: service_time: p95 ');
  t.match(part(''), '<dt>took</dt><dd>91.0 s</dd>');
  t.match(part(''), 'every live replica served v1 again after 82 ms');

  // From 64 to 704 over 91 s, 100 % at 16 and 0 % at 186: 0 until 41 s, 10 % until 51 s, 50 % until 90 s, 0.
  t.match(part('Weights over time'), 'aria-label="Weight of v2 over time"');
  t.match(
    part('Weights over time'),
    'd="M64.0 186.0H352.4V169.0H422.7V101.0H697.0V186.0H704.0V186.0"',
    'the steps of the weight',
  );
  const quality = part('Quality');
  t.match(quality, 'Difference of v2 to v1; the band is the margin');
  t.match(quality, '0.401 → 0.443 on 412 queries');
  // 0 lies at 447, and 1.1 · 0.071 at 704: the interval is 0.013 … 0.071 around 0.042.
  t.match(quality, 'd="M489.8 33H680.6"');
  t.match(quality, '<circle class="new" cx="585.2" cy="33"');
  for (const cell of ['faq@3', '0.013 … 0.071 (98 %)', '412', '0.912 / 0.876', 'better'])
    t.match(quality, `<td>${cell}</td>`);
  const latency = part('Latency of served requests');
  for (const name of ['v1 p50', 'v1 p95', 'v2 p50', 'v2 p95']) t.match(latency, `>${name}</text>`);
  const lines = [...latency.matchAll(/<path class="line (?:old|new)[^"]*" d="(M[^"]*)"\/>/g)]
    .map(([, d = '']) => d)
    .filter((d) => d !== 'M0 0H22');
  t.same(
    lines.map((d) => d.split(/[ML]/).length - 1),
    [3, 3, 2, 2],
    'a point where a version was measured',
  );
  t.match(latency, /<td>v1<\/td><td>480<\/td><td>3<\/td><td>[34]\.\d\d<\/td>/);
  t.match(latency, /<td>v2<\/td><td>117<\/td><td>5<\/td><td>[89]\d\.\d<\/td>/);
  t.match(part('Analyses'), '<td>failed</td><td>service_time: failed</td><td>p95 ');
  const worst = part('Worst queries, before and after');
  t.match(worst, '<td>another lost one</td><td>ndcg@10</td><td>0.654</td><td>0.321</td>');
  t.match(worst, '<td>0.000</td><td>old-1, old-&lt;b&gt;2</td><td>new-1, new-2</td>');
  t.equal(part('Everything that happened').split('<tr>').length - 1, 1 + 12, 'a row an event');
});

t.test('texts of others are texts, never markup', async (t) => {
  const { html, markdown } = report({ keepTexts: true });
  const escaped =
    '&lt;img src=x onerror=&quot;alert(1)&quot;&gt; | ![a](http://evil/p.png) &#39;&amp;amp; \\|';
  for (const text of [`which cat is golden ${escaped}`, `what did the mirror see ${escaped}`])
    t.match(html, `<td>${text}</td>`);
  t.match(html, '<td>&lt;script&gt;eve&lt;/script&gt;</td>');
  t.match(html, `<li>set them anew ${escaped}</li>`);
  t.notMatch(
    html,
    /<script|<img|<b>|<link|<iframe|\son\w+="|\ssrc=[^x]|\shref=/,
    'nor does it need another file',
  );
  t.match(
    markdown,
    '| what did the mirror see &lt;img src=x onerror="alert(1)"> \\| !\\[a\\](http://evil/p.png) \'&amp; \\\\\\| |',
  );
  t.notMatch(markdown, /<[a-z]/i, 'no HTML');
  t.notMatch(markdown, /(?<!\\)\[/, 'no link and no image');
  t.equal(markdown.split('\n').filter((line) => line.startsWith('# ')).length, 1, 'no heading of others');
  for (const line of markdown.split('\n').filter((line) => line.startsWith('| 2026')))
    t.ok([2, 7].includes(line.split(/(?<!\\)\|/).length - 2), `no column of others: ${line}`);
});

t.test("queries are shown where they belong, and clients' own texts only where they are kept", async (t) => {
  const isIn = (parts: ReadonlyMap<string, string>, text: string): readonly string[] =>
    [...parts].filter(([, part]) => part.includes(text)).map(([name]) => name);
  const pagesOf = (keepTexts: boolean): readonly ReadonlyMap<string, string>[] => {
    const { html, markdown } = report({ keepTexts });
    return [htmlParts(html), markdownParts(markdown)];
  };
  const WORST = ['Worst queries, before and after'];
  const [kept] = worstReads(false);
  t.match(kept?.queryHash, /^[0-9a-f]{32}$/);
  for (const parts of pagesOf(false)) {
    t.same(isIn(parts, 'which cat is golden'), WORST, "the golden set's own");
    t.same(isIn(parts, 'what did the mirror see'), [], 'a client asked it');
    t.same(isIn(parts, kept?.queryHash ?? '–'), WORST, 'its keyed hash in its place');
  }
  for (const parts of pagesOf(true)) {
    t.same(isIn(parts, 'what did the mirror see'), WORST, 'comparison.keep_texts');
    t.same(isIn(parts, kept?.queryHash ?? '–'), []);
  }
});
