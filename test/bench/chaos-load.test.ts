import t from 'tap';
import type { ChaosAnswer, Outcome, SearchClient, SearchRequest } from '../../bench/chaos/client.js';
import { ConstantLoad } from '../../bench/chaos/load.js';
import { Checker } from '../../bench/judge/checker.js';

const BUILDS = new Map([
  ['b1', { version: 'v1', model: 'm@1', fingerprint: 'mf1_1' }],
  ['b2', { version: 'v2', model: 'm@2', fingerprint: 'mf1_2' }],
]);

/** The right answer of a build, or what `changed` makes of it. */
function answerOf(build: 'b1' | 'b2', changed: object = {}, id: string = build): Outcome {
  const named = BUILDS.get(build);
  if (named === undefined) throw new Error(build);
  const { version, model, fingerprint } = named;
  const served_by = { build, corpus_version: version, model, fingerprint, ...changed };
  const answer: ChaosAnswer = { hits: [{ id, score: 0.5 }], served_by, degraded: [] };
  return { kind: 'answer', answer };
}

interface Asked {
  readonly request: SearchRequest;
  answer(outcome: Outcome): void;
}

/** A client whose answers the test gives, one by one or by `reply`. */
class HandClient implements SearchClient {
  isConnected = true;
  readonly asked: Asked[] = [];
  reply: ((request: SearchRequest) => Outcome) | null = null;

  search(request: SearchRequest): Promise<Outcome> {
    if (this.reply !== null) return Promise.resolve(this.reply(request));
    return new Promise((answer) => this.asked.push({ request, answer }));
  }
}

const lost: Outcome = { kind: 'lost', why: 'nobody answered' };
const askedOf = ({ corpus_version, model }: SearchRequest): 'b1' | 'b2' =>
  corpus_version === 'v2' || model === 'm@2' ? 'b2' : 'b1';
const right = (request: SearchRequest): Outcome => answerOf(askedOf(request));

function rig(): { readonly client: HandClient; readonly load: ConstantLoad } {
  const client = new HandClient();
  const checker = new Checker(1);
  for (const build of BUILDS.keys()) checker.know('what', build, [{ id: build, score: 0.5 }]);
  const vectors = new Map([...BUILDS.values()].map(({ model }) => [model, [new Float32Array(4)]]));
  const options = { perSecond: 1, deadlineMs: 1_000, seed: 1, queries: ['what'], vectors, builds: BUILDS };
  return { client, load: new ConstantLoad({ ...options, client, checker }) };
}

t.test('an answer is judged by what was asked and by what it says of itself', async (t) => {
  const { client, load } = rig();
  load.begin();
  client.reply = right;
  for (let at = 0; at < 16; at++) load.sendOne();
  const whole = await load.end();
  t.match(whole, { answered: 16, wrong: 0, mispaired: 0, requests: { text: 8, vector: 8 } });
  const other = { b1: 'b2', b2: 'b1' } as const;
  for (const [what, reply, expected] of [
    ['nobody has such hits', (build) => answerOf(build, {}, 'x'), { wrong: 16, mispaired: 0 }],
    ['hits of another build', (build) => answerOf(build, {}, other[build]), { wrong: 0, mispaired: 16 }],
    ['no build that there is', (build) => answerOf(build, { build: 'b9' }), { mispaired: 16 }],
    ["another model's name", (build) => answerOf(build, { model: 'm@9' }), { mispaired: 16 }],
    ["another model's fingerprint", (build) => answerOf(build, { fingerprint: 'x' }), { mispaired: 16 }],
    ["another version's name", (build) => answerOf(build, { corpus_version: 'v9' }), { mispaired: 16 }],
    // Four vectors and one text ask for what v2 has.
    ['v1 whatever was asked', () => answerOf('b1'), { answered: 16, wrong: 0, mispaired: 5 }],
  ] as readonly (readonly [string, (build: 'b1' | 'b2') => Outcome, object])[]) {
    load.begin();
    client.reply = (request) => reply(askedOf(request));
    for (let at = 0; at < 16; at++) load.sendOne();
    t.match(await load.end(), expected, what);
  }
});

t.test('what a probe is answered counts: wrong, of another version, lost or refused', async (t) => {
  const { client, load } = rig();
  const firsts: Outcome[] = [
    answerOf('b1', {}, 'x'),
    answerOf('b2'),
    lost,
    { kind: 'refused', reason: 'ENCODER_UNAVAILABLE' },
  ];
  load.begin();
  client.reply = (request) => firsts.shift() ?? right(request);
  await load.untilWell(60_000);
  t.match(await load.end(), {
    ...{ probes: 9, wrong: 1, mispaired: 1, lost: 1, probesRefused: 1 },
    ...{ requests: { text: 0, vector: 0 }, refused: { text: 0, vector: 0 }, answered: 0 },
  });
});

t.test('a fault has what was under way when it began and what is sent until it ends', async (t) => {
  const { client, load } = rig();
  load.sendOne();
  load.sendOne();
  client.asked.shift()?.answer(lost);
  await new Promise(setImmediate);
  load.begin();
  load.sendOne();
  const ended = load.end();
  load.sendOne();
  for (const { answer } of client.asked.splice(0)) answer(lost);
  t.match(await ended, { requestCount: 2, lost: 2, sentBefore: 1, lostBefore: 1 });
  await load.stop();
  t.match(load.between, { requestCount: 2, lost: 2 }, 'the first, and what was sent after it');
});

t.test('what is sent when the gateway listens again has no excuse', async (t) => {
  const { client, load } = rig();
  load.begin();
  load.sendText();
  load.mark();
  load.sendText();
  load.back();
  load.sendText();
  for (const { answer } of client.asked.splice(0)) answer(lost);
  t.match(await load.end(), { lost: 3, sentBefore: 1, lostBefore: 1, lostSinceBack: 1 });
  load.begin();
  client.reply = right;
  load.sendText();
  t.match(await load.end(), { lost: 0, lostSinceBack: 0 }, 'of that fault alone');
});
