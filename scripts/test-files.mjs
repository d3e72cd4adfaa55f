// Runs compiled test files, some at a time: `node scripts/test-files.mjs <results file> <jobs> <file>…`. What they say goes
// to the results file as TAP, one line a file to stdout.
//
// The runner's own command line does the same with a loader in each process, for coverage and for notes on what was loaded:
// half a second to two of CPU for every file, and its environment in every process that a test starts.
import { createWriteStream } from 'node:fs';
import t from 'tap';

const TIMEOUT_S = 600;
const [results, jobs, ...files] = process.argv.slice(2);

t.setTimeout(0); // of the run; each file has its own
t.register();
t.jobs = Number(jobs);
t.plan(files.length);
t.pipe(createWriteStream(results));
let ended = 0;
for (const file of files)
  t.spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, '--enable-source-maps', file], {
    name: file,
    buffered: t.jobs > 1,
    timeout: TIMEOUT_S * 1000,
    env: { ...process.env, TAP_TIMEOUT: String(TIMEOUT_S) },
    at: null,
    stack: '',
  }).then((said) => {
    ended++;
    const outcome = said?.ok === true ? 'passed' : 'FAILED';
    console.log(`${ended} of ${files.length}: ${file} ${outcome}`);
  });
