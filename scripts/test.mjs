// `npm test`: lint, types, then every compiled test file. Prints `N passed, N failed` last, for people and for CI.
// Arguments name test files or folders below test/ to run only those: `npm test -- index registry/routes`.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
process.chdir(root);
const only = process.argv.slice(2);
const results = path.join('var', 'test-results.tap');
/** Files that run at a time. */
const JOBS = 2;
/** A step before the tests that takes longer hangs. */
const STEP_MS_MAX = 600_000;
/** What takes longest begins first, so that the end is not one file alone; the others come by name. */
const LONGEST = [
  'product/bench',
  'product/quickstart',
  'product/cranfield',
  'product/corpus',
  'migration/kills',
  'migration/rollback',
];

const run = (title, command, args, { timeout = 0 } = {}) =>
  new Promise((resolve) => {
    console.log(`\n== ${title}`);
    const child = spawn(command, args, { stdio: 'inherit', timeout, killSignal: 'SIGKILL' });
    child.on('error', (error) => {
      console.error(`${command} cannot be started: ${error.message}. Run \`npm ci\` first.`);
      resolve(false);
    });
    child.on('close', (code) => resolve(code === 0));
  });

const testFiles = (folder) =>
  readdirSync(folder, { recursive: true })
    .map((name) => path.join(folder, String(name)))
    .filter(
      (name) => name.endsWith('.test.ts') && (only.length === 0 || only.some((part) => name.includes(part))),
    )
    .sort((one, other) => rank(one) - rank(other) || (one < other ? -1 : 1));

const rank = (name) => {
  const at = LONGEST.findIndex((part) => name.includes(path.normalize(part)));
  return at < 0 ? LONGEST.length : at;
};

const bin = (name) => path.join('node_modules', '.bin', name);

// A whole run begins with nothing; a part of it takes what did not change.
if (only.length === 0) rmSync('dist', { recursive: true, force: true });
mkdirSync('var', { recursive: true });
rmSync(results, { force: true });

const sources = testFiles('test');
const compiled = sources.map((name) => path.join('dist', name.replace(/\.ts$/, '.js')));
let stepsFailed = 0;
if (!(await run('lint', bin('biome'), ['check', '--error-on-warnings', '.']))) stepsFailed++;
const compiles = await run('types and build', bin('tsc'), ['-p', 'tsconfig.json']);
if (!compiles) stepsFailed++;

let passed = 0;
let failed = 0;
let skipped = 0;
if (sources.length === 0) {
  console.error(`no test file matches ${only.join(', ')}`);
  stepsFailed++;
} else if (compiles) {
  if (!(await buildRunner())) stepsFailed++;
  if (only.length === 0 && !(await prepare())) stepsFailed++;
  const runner = path.join('scripts', 'test-files.mjs');
  const green = await run(`tests: ${compiled.length} files`, process.execPath, [
    ...[runner, results, String(JOBS)],
    ...compiled,
  ]);
  const tap = existsSync(results) ? readFileSync(results, 'utf8') : '';
  ({ passed, failed, skipped } = count(tap));
  // What ran on less than it could is said all the same.
  for (const said of new Set([...tap.matchAll(/^ *# (.* is not installed: .*)$/gm)].map(([, line]) => line)))
    console.log(`\n${said}`);
  nameFailures(tap);
  nameSkips(tap);
  if (!green && failed === 0) stepsFailed++;
}

/** The runner's TypeScript plugin is off (.taprc); a fresh install must be told once, before the first run. */
async function buildRunner() {
  const marker = path.join('node_modules', '.tap-built');
  const wanted = readFileSync('.taprc', 'utf8');
  if (existsSync(marker) && readFileSync(marker, 'utf8') === wanted) return true;
  const built = await run('test runner', bin('tap'), ['build']);
  if (built) writeFileSync(marker, wanted);
  return built;
}

/** What many tests share is made by one process, before two of them make it at the same time. */
function prepare() {
  const program = path.join('dist', 'test', 'fixtures', 'prepare.js');
  const title = 'models, builds and a registry for the tests';
  return run(title, process.execPath, [program], { timeout: STEP_MS_MAX });
}

/** Every failed assertion, and what was found in its place. */
function nameFailures(tap) {
  const within = [];
  /** What follows a failed assertion, to the line that ends it. */
  let details = false;
  for (const line of tap.split('\n')) {
    if (details && line !== '') {
      console.error(line);
      details = !/^ *\.\.\.$/.test(line);
      continue;
    }
    const [, indent, subtest] = /^( *)# Subtest: (.*)$/.exec(line) ?? [];
    if (subtest !== undefined) {
      within.length = indent.length / 4;
      within.push(subtest);
      continue;
    }
    const [, depth, assertion] = /^( *)not ok \d+ - (.*)$/.exec(line) ?? [];
    if (assertion !== undefined && !/# (SKIP|TODO)\b/i.test(assertion)) {
      console.error(`FAILED ${[...within.slice(0, depth.length / 4), assertion].join(' > ')}`);
      // Of a group of tests they say nothing more; of a file, how it ended.
      details = depth === '' || !/ # time=/.test(assertion);
    }
  }
}

/** Every test and assertion that was left out, and why. */
function nameSkips(tap) {
  for (const [, name, why] of tap.matchAll(/^ *ok \d+ - (.*?) # SKIP *(.*)$/gim))
    console.log(`SKIPPED ${name}: ${why || 'no reason given'}`);
}

/** Assertions of the whole run, as the runner itself totals them in its last line. */
function count(tap) {
  const totals = [...tap.matchAll(/^# \{ (.*) \}$/gm)].at(-1)?.[1] ?? '';
  const value = (name) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(totals)?.[1] ?? 0);
  const ranFiles = [...tap.matchAll(/^(?:not )?ok \d+ - (?:\.\/)?dist\/test\//gm)].length;
  if (ranFiles !== compiled.length) {
    console.error(`${ranFiles} of ${compiled.length} test files ran`);
    stepsFailed++;
  }
  // The runner calls a file without a test skipped: it ended before its first one, and with 0.
  for (const [, file] of tap.matchAll(/^ok \d+ - (\S+).*# SKIP no tests found/gm)) {
    console.error(`FAILED ${file} has no test, or ended before its first`);
    stepsFailed++;
  }
  return { passed: value('pass'), failed: value('fail'), skipped: value('skip') + value('todo') };
}

failed += stepsFailed;
const ok = failed === 0 && passed > 0;
if (skipped > 0) console.log(`\n${skipped} skipped: see the reasons above`);
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = ok ? 0 : 1;
