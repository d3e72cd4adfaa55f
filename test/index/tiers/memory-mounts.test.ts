import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { DramTier } from '../../../src/index/tiers/dram-tier.js';
import { autoMemoryDir, hugeMounts } from '../../../src/index/tiers/memory-mounts.js';
import { temporaryFolder } from '../corpus.js';

t.test('a tmpfs counts when whole files get huge pages in it and it may be written to', (t) => {
  const mounts = `
/dev/vda / ext4 rw,relatime,huge=always 0 0
tmpfs /dev/shm tmpfs rw,relatime,size=24684096k 0 0
tmpfs /mnt/huge tmpfs rw,relatime,size=1048576k,huge=always 0 0
tmpfs /mnt/a\\040blank\\134 tmpfs rw,huge=within_size,size=4k 0 0
tmpfs /mnt/read-only tmpfs ro,huge=always 0 0
tmpfs /mnt/advise tmpfs rw,huge=advise 0 0
tmpfs /mnt/never tmpfs rw,huge=never 0 0
hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0
tmpfs /mnt/covered tmpfs rw,huge=always 0 0
/dev/vdb /mnt/covered ext4 rw 0 0
nonsense
`;
  t.same(hugeMounts(mounts), ['/mnt/huge', '/mnt/a blank\\']);
  t.same(hugeMounts(''), []);
  t.end();
});

t.test('auto takes a mount with huge pages that nobody else can write to, else /dev/shm', async (t) => {
  const home = temporaryFolder(t);
  const memory = mkdtempSync('/dev/shm/switchyard-test-');
  t.teardown(() => rmSync(memory, { recursive: true, force: true }));
  const mountsFile = path.join(home, 'mounts');
  const folders = ['open', 'own'].map((name) => path.join(memory, name));
  for (const folder of folders) mkdirSync(folder, { mode: 0o700 });
  const [open, own] = folders as [string, string];
  chmodSync(open, 0o777);
  const lines = [home, path.join(memory, 'gone'), open, own].map(
    (at) => `tmpfs ${at} tmpfs rw,huge=always 0 0\n`,
  );
  writeFileSync(mountsFile, lines.slice(0, 3).join(''));
  t.equal(await autoMemoryDir(mountsFile), '/dev/shm', 'a disk, a mount that is gone, one for everybody');
  t.equal(await autoMemoryDir(path.join(home, 'no mounts here')), '/dev/shm');
  writeFileSync(mountsFile, lines.join(''));
  t.equal(await autoMemoryDir(mountsFile), own);
  chmodSync(open, 0o1777);
  t.equal(await autoMemoryDir(mountsFile), open, 'with the sticky bit everybody may');

  const folder = await new DramTier({ memoryDir: 'auto', bytesMax: 1, mountsFile }).folder();
  t.equal(folder?.root, path.join(open, `switchyard-${process.getuid?.()}`));
  t.same(readdirSync(open), [`switchyard-${process.getuid?.()}`]);
});
