// `npm audit` at high and above: an advisory against anything that is installed fails. Where the registry answers no
// audits (a mirror, a closed network) that is said, and nothing was checked.
import { spawnSync } from 'node:child_process';

const { stdout } = spawnSync('npm', ['audit', '--json'], { encoding: 'utf8', maxBuffer: 64 << 20 });
let report = {};
try {
  report = JSON.parse(stdout);
} catch {
  // Said below.
}
const counts = report.metadata?.vulnerabilities;
if (counts === undefined) {
  const why = report.message ?? report.error?.summary ?? 'no answer that can be read';
  console.log(`NOT AUDITED: this registry answers no audits (${String(why).split('\n')[0]})`);
} else {
  const found = Object.values(report.vulnerabilities ?? {}).filter(({ severity }) =>
    ['high', 'critical'].includes(severity),
  );
  for (const { name, severity, range } of found) console.error(`${severity}: ${name} ${range}`);
  console.log(`npm audit: ${counts.high + counts.critical} at high or above, ${counts.total} in all`);
  if (found.length > 0) process.exitCode = 1;
}
