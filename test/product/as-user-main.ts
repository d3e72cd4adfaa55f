import { spawnSync } from 'node:child_process';

/** Runs a shell line as another user: `as-user-main <uid> <line>`. */
const [uid, line = ''] = process.argv.slice(2);
const id = Number(uid);
const { status } = spawnSync('sh', ['-c', line], { uid: id, gid: id, stdio: 'inherit' });
process.exitCode = status ?? 1;
