import { createSecretKey } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pino } from 'pino';
import t from 'tap';
import { sha256Hex } from '../../src/files/hash.js';
import { KeyRing } from '../../src/gateway/auth/key-ring.js';
import type { KeySecret } from '../../src/gateway/auth/key-secret.js';
import { KeyFollower } from '../../src/gateway/wiring/key-follower.js';
import { KnownKeys } from '../../src/gateway/wiring/known-keys.js';
import { RegistryLink } from '../../src/gateway/wiring/registry-link.js';
import { silentLog } from '../fixtures/postgres.js';
import { type MadeKey, makeKey, SECRET } from './keys.js';

const STALENESS_MS_MAX = 200_000;
const OBSERVE_MS_MAX = 300_000;
const AT_MS = Date.parse('2026-11-26T12:00:00Z');

interface Rig {
  readonly known: KnownKeys;
  readonly file: string;
  readonly said: string[];
  nowMs: number;
  /** As a gateway does that read these from the registry just now. */
  keep(...keys: readonly MadeKey[]): Promise<void>;
}

function makeRig(folder: string, secret: KeySecret = SECRET): Rig {
  const said: string[] = [];
  const rig: Rig = {
    nowMs: AT_MS,
    said,
    file: path.join(folder, 'keys', 'known.json'),
    known: new KnownKeys({
      varDir: folder,
      secret,
      stalenessMsMax: STALENESS_MS_MAX,
      log: pino({ level: 'warn' }, { write: (line: string) => said.push(line) }),
      wallMs: () => rig.nowMs,
    }),
    keep: async (...keys) => {
      rig.known.keep(
        keys.map(({ stored }) => stored),
        new Date(rig.nowMs),
      );
      await rig.known.settled();
    },
  };
  return rig;
}

const lasting = (part: Parameters<typeof makeKey>[0] = {}): MadeKey =>
  makeKey({ createdAt: new Date(AT_MS), expiresAt: new Date(AT_MS + 86_400_000), ...part });

t.test(
  'the keys that work come back with their age, and nothing that helps to make one is written',
  async (t) => {
    const rig = makeRig(t.testdir({}));
    const one = lasting({ corpora: ['docs'], requestsPerS: 5, replacedBy: '0123456789ab' });
    const other = lasting({ role: 'admin', name: 'ana' });
    const ended = [
      lasting({ expiresAt: new Date(AT_MS) }),
      lasting({ revokedAt: new Date(AT_MS) }),
      lasting({ secretId: 'another' }),
    ];
    t.equal(await rig.known.read(), null, 'nothing was written yet');
    await rig.keep(one, ...ended, other);
    rig.nowMs += 7_000;
    t.same(await rig.known.read(), { keys: [one.stored, other.stored], ageMs: 7_000 });
    t.equal(statSync(rig.file).mode & 0o777, 0o600);
    t.same(readdirSync(path.dirname(rig.file)), ['known.json'], 'nothing is left beside it');
    const text = readFileSync(rig.file, 'utf8');
    for (const { token, stored } of [one, other, ...ended]) {
      const [, id, secret] = token.split('_');
      t.notOk(text.includes(secret as string), 'no key');
      t.equal(text.includes(id as string), stored === one.stored || stored === other.stored);
    }
    t.same(rig.said, []);
  },
);

t.test('it is written when keys changed, and else when a quarter of their time went by', async (t) => {
  const rig = makeRig(t.testdir({}));
  const [one, other] = [lasting(), lasting()];
  const ageMs = async () => (await rig.known.read())?.ageMs;
  await rig.keep(one);
  rig.nowMs += STALENESS_MS_MAX / 4 - 1;
  await rig.keep(one);
  t.equal(await ageMs(), STALENESS_MS_MAX / 4 - 1);
  rig.nowMs += 1;
  await rig.keep(one);
  t.equal(await ageMs(), 0);
  rig.nowMs += 1;
  await rig.keep(one, other);
  t.equal(await ageMs(), 0);
  rig.nowMs += 1;
  await rig.keep(other);
  t.same(await rig.known.read(), { keys: [other.stored], ageMs: 0 }, 'what was revoked is gone at once');
  rig.nowMs -= 3_600_000;
  await rig.keep(other);
  t.equal(await ageMs(), 0, 'nor does a clock that was set back stop it');
});

t.test('what was not written with the secret, is damaged, or of the future, is of no use', async (t) => {
  const rig = makeRig(t.testdir({}));
  const key = lasting();
  await rig.keep(key);
  const whole = readFileSync(rig.file, 'utf8');
  const { format, payload } = JSON.parse(whole) as {
    format: string;
    payload: { seal: string; content: { keys: { role: string }[] } };
  };
  const forged = (change: (of: typeof payload) => void): string => {
    const copy = structuredClone(payload);
    change(copy);
    return JSON.stringify({ format, sha256: sha256Hex(JSON.stringify(copy)), payload: copy });
  };
  const bad = {
    'a wider role': forged(({ content: { keys } }) => Object.assign(keys[0] ?? {}, { role: 'admin' })),
    'one key more': forged(({ content: { keys } }) => keys.push(...keys)),
    'another time': forged(({ content }) => Object.assign(content, { read_at: new Date().toISOString() })),
    'no seal': forged((of) => Object.assign(of, { seal: '0'.repeat(64) })),
    'a seal of another length': forged((of) => Object.assign(of, { seal: '00' })),
    'another structure': forged((of) => Object.assign(of, { more: 1 })),
    'another format': whole.replace('known-keys/1', 'known-keys/2'),
    'a letter changed': whole.replace('"search"', '"searcH"'),
    'cut off': whole.slice(0, -20),
    nothing: '',
  };
  for (const [name, text] of Object.entries(bad)) {
    writeFileSync(rig.file, text);
    t.equal(await rig.known.read(), null, name);
    t.match(rig.said.splice(0), [/known\.json/], name);
  }
  writeFileSync(rig.file, whole);
  t.match(await rig.known.read(), { keys: [key.stored] });
  rig.nowMs -= 1;
  t.equal(await rig.known.read(), null);
  t.match(rig.said.splice(0), [/which has not come yet/]);
  const stranger = makeRig(path.dirname(path.dirname(rig.file)), {
    secret: createSecretKey(Buffer.from('another secret of tests, 32 chars')),
    secretId: 'fedcba9876543210',
  });
  t.equal(await stranger.known.read(), null);
  t.match(stranger.said, [/HMAC secret of this gateway/]);
  const blocked = makeRig(t.testdir({ keys: 'a file where the folder should be' }));
  await blocked.keep(key);
  await blocked.keep(key);
  t.equal(blocked.said.length, 1, 'a disk that takes nothing is said once, and stops nothing');
});

t.test('what could not be written is written at the next read, whatever that has', async (t) => {
  const rig = makeRig(t.testdir({}));
  const folder = path.dirname(rig.file);
  const [one, revoked] = [lasting(), lasting()];
  const whileBlocked = async (work: () => Promise<void>): Promise<void> => {
    renameSync(folder, `${folder}.away`);
    writeFileSync(folder, 'a file where the folder should be');
    await work();
    rmSync(folder);
    renameSync(`${folder}.away`, folder);
    t.match(rig.said.splice(0), [/cannot be written down/]);
  };
  await rig.keep(one, revoked);
  await whileBlocked(() => rig.keep(one));
  t.match(await rig.known.read(), { keys: { length: 2 } }, 'the file has both still');
  await rig.keep(one);
  t.same(await rig.known.read(), { keys: [one.stored], ageMs: 0 }, 'what was revoked is gone');
  rig.nowMs += 1_000;
  await whileBlocked(() => rig.keep(one, lasting()));
  rig.nowMs += 1_000;
  await rig.keep(one);
  t.same(await rig.known.read(), { keys: [one.stored], ageMs: 0 }, 'and so are those of before');
});

t.test('without the registry keys are let in by how long ago they were read, and never longer', async (t) => {
  const rig = makeRig(t.testdir({}));
  const key = lasting({ role: 'monitor', expiresAt: new Date(Date.now() + 86_400_000) });
  await rig.keep(key);
  rig.nowMs += 30_000;
  const refusalOf = (work: () => unknown): unknown => {
    try {
      work();
      return null;
    } catch (error) {
      return (error as { reason: string }).reason;
    }
  };
  let nowMs = performance.now();
  const ring = new KeyRing({
    secret: SECRET,
    stalenessMsMax: STALENESS_MS_MAX,
    observeStalenessMsMax: OBSERVE_MS_MAX,
    requestsPerS: null,
    concurrencyMax: null,
    now: () => nowMs,
  });
  const link = new RegistryLink(() => Promise.reject(new Error('there is none')), silentLog);
  t.teardown(() => link.close());
  const follower = new KeyFollower({
    link,
    ring,
    known: rig.known,
    pollIntervalMs: 600_000,
    log: silentLog,
  });
  t.teardown(() => follower.close());
  await follower.start();
  nowMs = performance.now();
  t.equal(ring.verify(key.token).keyName, key.stored.name);
  t.ok(ring.ageMs >= 30_000 && ring.unreadMs >= 30_000, 'the age is that of the read');
  nowMs += STALENESS_MS_MAX - 30_000 + 1;
  t.equal(
    refusalOf(() => ring.verify(key.token)),
    'REGISTRY_UNAVAILABLE',
  );
  t.equal(
    refusalOf(() => ring.verify(key.token, true)),
    null,
    'but to who only looks',
  );
  nowMs += OBSERVE_MS_MAX - STALENESS_MS_MAX;
  t.equal(
    refusalOf(() => ring.verify(key.token, true)),
    'REGISTRY_UNAVAILABLE',
  );
});
