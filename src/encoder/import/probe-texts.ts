import { PROBE_COUNT, type Probe } from '../probes.js';

/**
 * The texts every model is probed with: one word to more than any common max tokens, several scripts, digits, code,
 * emoji, combining marks. They are part of no fingerprint, but changing them changes what an import writes.
 */
const QUERIES = [
  'cat',
  'a big cat with stripes',
  'how do I reset my password?',
  'WHAT IS THE CAPITAL OF FRANCE',
  'best way to store vectors on disk',
  'error: connection refused (ECONNREFUSED) 127.0.0.1:5432',
  'Wie wird das Wetter morgen in Köln?',
  '¿Dónde está la biblioteca más cercana?',
  'какая сегодня погода',
  '東京から京都までの新幹線の料金',
  '如何做红烧肉',
  'ما هي عاصمة مصر؟',
  '서울에서 부산까지 얼마나 걸려요?',
  'भारत की राजधानी क्या है',
  'pizza 🍕 near me 🙂👍🏽',
  'e\u0301te\u0301 nai\u0308ve cafe\u0301',
] as const;

const PARAGRAPH =
  'The harbour lay quiet under a thin layer of fog while the first boats came home. Nobody on the pier spoke much; ' +
  'the nets were lifted, the boxes were weighed, and a clerk wrote the numbers into a long green book. By noon the ' +
  'market had moved on to the next town and only the gulls remained, walking between the crates as if they had been ' +
  'hired to count them.';

const DOCUMENTS = [
  'Water boils at 100 degrees Celsius at sea level.',
  'tiger; large feline of forests in most of Asia having a tawny coat with black stripes; endangered',
  'The committee approved the budget for the coming year after a short debate.',
  'An index is a data structure that makes finding things faster, at the cost of space and of slower writes.',
  'function add(a, b) { return a + b; } // adds two numbers',
  '{"id": 42, "name": "Ada", "tags": ["math", "engine"], "active": true}',
  'Invoice 2024-0311: 3 × EUR 19.99 = EUR 59.97, due within 14 days.',
  'Die Donaudampfschifffahrtsgesellschaft beförderte im 19. Jahrhundert Fracht und Reisende.',
  'Le chat est assis sur le paillasson et regarde la pluie tomber sur les toits de Paris.',
  'Москва — столица России, крупнейший по численности населения город страны.',
  '北京是中华人民共和国的首都，也是全国的政治和文化中心。',
  'Ο ήλιος ανατέλλει από την ανατολή και δύει στη δύση.',
  PARAGRAPH,
  `${PARAGRAPH} ${PARAGRAPH}`,
  Array.from({ length: 4 }, () => PARAGRAPH).join(' '),
  Array.from({ length: 12 }, () => PARAGRAPH).join('\n'),
] as const;

/** Queries and documents in turn, so that every run of neighbours mixes lengths. */
export function probeTexts(): readonly Probe[] {
  const probes = QUERIES.flatMap((query, i): Probe[] => [
    { text: query, role: 'query' },
    { text: DOCUMENTS[i] as string, role: 'document' },
  ]);
  if (probes.length !== PROBE_COUNT) throw new Error(`${probes.length} probes, there must be ${PROBE_COUNT}`);
  return probes;
}
