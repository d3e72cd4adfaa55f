import { type Command, InvalidArgumentError } from 'commander';
import type { AdminApi } from '../../gateway/admin/api.js';
import type { KeyView, NewKeyView } from '../../gateway/admin/key-views.js';
import { KEY_ROLES, type KeyRole } from '../../registry/schema.js';
import { addChangeOptions, type ChangeOptions, withAdmin, withOwnAdmin } from '../admin-session.js';
import { clientAccess } from '../client-access.js';
import { type CommonOptions, commandConfig, commandOutput, positiveInteger } from '../options.js';
import { table } from '../output.js';

interface CreateOptions extends ChangeOptions {
  readonly role: KeyRole;
  readonly corpus: readonly string[];
  readonly requestsPerS?: number;
  readonly concurrencyMax?: number;
  readonly expires?: string;
}

interface RotateOptions extends ChangeOptions {
  readonly overlap?: number;
  readonly expires?: string;
}

/**
 * API keys. With an admin's key these commands are a running gateway's clients. Without a key they go to the registry
 * themselves, also while a gateway runs: who can read the HMAC's secret and write the registry may make keys, and the first
 * one has to come from somewhere.
 */
export function addKeyCommands(program: Command): void {
  const key = program.command('key').description('API keys for listeners with auth: keys');
  addChangeOptions(
    key
      .command('create')
      .description('make a key; it is shown once and kept nowhere')
      .argument('<name>', 'whose it is')
      .requiredOption('--role <role>', KEY_ROLES.join(', '), keyRole)
      .option(
        '--corpus <corpus>',
        'a corpus that a search key may search; again for more (default: all)',
        append,
        [],
      )
      .option('--requests-per-s <n>', 'its rate limit in each gateway', positiveInteger)
      .option('--concurrency-max <n>', 'its requests open at once in each gateway', positiveInteger)
      .option('--expires <date>', 'when it ends, e.g. 2027-01-31 (default: in a year)'),
  ).action(async (name: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<CreateOptions>();
    const made = await withKeys(options, (admin) =>
      admin.createKey({
        name,
        role: options.role,
        corpora: options.corpus,
        ...(options.requestsPerS === undefined ? {} : { requests_per_s: options.requestsPerS }),
        ...(options.concurrencyMax === undefined ? {} : { concurrency_max: options.concurrencyMax }),
        ...(options.expires === undefined ? {} : { expires_at: options.expires }),
        actor: options.actor,
        reason: options.reason,
      }),
    );
    commandOutput(options).answer(made, formatNewKey);
  });

  addChangeOptions(
    key
      .command('rotate')
      .description('make a key with the rights of another, which goes on for a while')
      .argument('<key-id>', 'as `key list` shows it')
      .option(
        '--overlap <duration>',
        'how long the old key goes on, e.g. 30m, 24h, 7d (default: 24h)',
        duration,
      )
      .option('--expires <date>', 'when the new key ends (default: it lives as long as the old one)'),
  ).action(async (keyId: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<RotateOptions>();
    const { actor, reason } = options;
    const made = await withKeys(options, (admin) =>
      admin.rotateKey({
        key_id: keyId,
        ...(options.overlap === undefined ? {} : { overlap_s: options.overlap }),
        ...(options.expires === undefined ? {} : { expires_at: options.expires }),
        actor,
        reason,
      }),
    );
    commandOutput(options).answer(made, formatNewKey);
  });

  addChangeOptions(
    key.command('revoke').description('end a key now').argument('<key-id>', 'as `key list` shows it'),
  ).action(async (keyId: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ChangeOptions>();
    const { actor, reason } = options;
    const ended = await withKeys(options, (admin) => admin.revokeKey({ key_id: keyId, actor, reason }));
    commandOutput(options).answer(ended, (view) => formatKeys([view]));
  });

  key
    .command('list')
    .description('keys, without what they are')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      commandOutput(options).answer(await withKeys(options, (admin) => admin.listKeys()), formatKeys);
    });
}

function withKeys<T>(options: CommonOptions, work: (admin: AdminApi) => Promise<T>): Promise<T> {
  if (clientAccess(options).key !== null) return withAdmin(options, work);
  return withOwnAdmin(commandConfig(options), work);
}

function formatNewKey(view: NewKeyView): string {
  return [
    view.key,
    '',
    'This is the only time it is shown. Its holder sends it as `authorization: Bearer …`.',
    formatKeys([view]),
  ].join('\n');
}

function formatKeys(keys: readonly KeyView[]): string {
  if (keys.length === 0) return 'no key yet; make one with `switchyard key create`';
  return table(
    ['key id', 'name', 'role', 'corpora', 'state', 'expires', 'replaced by'],
    keys.map((view) => [
      view.key_id,
      view.name,
      view.role,
      view.corpora.length === 0 ? 'all' : view.corpora.join(','),
      view.state,
      view.expires_at.slice(0, 16),
      view.replaced_by ?? '-',
    ]),
  );
}

const append = (value: string, before: readonly string[]): readonly string[] => [...before, value];

function keyRole(text: string): KeyRole {
  const role = KEY_ROLES.find((known) => known === text);
  if (role === undefined) throw new InvalidArgumentError(`must be one of ${KEY_ROLES.join(', ')}.`);
  return role;
}

const SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;

/** Seconds of `30m`, `24h`, `7d`. */
function duration(text: string): number {
  const [, count, unit] = /^(\d{1,8})([smhd])$/.exec(text) ?? [];
  if (count === undefined || unit === undefined)
    throw new InvalidArgumentError('must be a number and s, m, h or d, e.g. 24h.');
  return Number(count) * SECONDS[unit as keyof typeof SECONDS];
}
