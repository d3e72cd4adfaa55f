import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { printedCommand, programName, shellWord } from '../../src/cli/printed-command.js';
import { temporaryFolder } from '../fixtures/postgres.js';

t.test('a printed command is called as the program was', async (t) => {
  t.equal(programName('/yard/bin/switchyard', '/usr/bin', '/yard'), 'bin/switchyard', 'in its checkout');
  t.equal(programName('/yard/bin/switchyard', '/usr/bin', '/home'), '/yard/bin/switchyard', 'from elsewhere');
  t.equal(programName('/my yard/bin/switchyard', '', '/home'), "'/my yard/bin/switchyard'");
  const folder = await temporaryFolder(t);
  writeFileSync(path.join(folder, 'switchyard'), '');
  chmodSync(path.join(folder, 'switchyard'), 0o755);
  t.equal(programName('/yard/bin/switchyard', `/usr/bin:${folder}`, '/yard'), 'switchyard', 'in the PATH');
});

t.test('it has the options that were given, and no others', async (t) => {
  t.match(printedCommand({})('route show docs'), /route show docs$/);
  const printed = printedCommand({ adminPort: 9081, varDir: '/my var', config: 'yard.yaml', json: true });
  t.match(
    printed('route show docs'),
    / route show docs --config yard\.yaml --var-dir '\/my var' --admin-port 9081$/,
  );
});

t.test('a shell reads every word as it was meant', async (t) => {
  const words = fc.sample(fc.string({ unit: 'binary', maxLength: 12 }), { numRuns: 200, seed: 1 });
  const plain = [...words, "it's", '$HOME', '`id`', 'a b', ''].filter((word) => !word.includes('\0'));
  const read = execFileSync('sh', ['-c', `printf '%s\\0' ${plain.map(shellWord).join(' ')}`]).toString(
    'utf8',
  );
  t.same(
    read.split('\0').slice(0, -1),
    plain.map((word) => Buffer.from(word).toString('utf8')),
  );
});
