// What a memory-backed volume and a container need for bundles in tier dram.
//   node deploy/kubernetes/size-memory.mjs <bundles folder> [corpus/version …] [--json]
// Without names every bundle in the folder counts. During a migration the old and the new build are both there: name both.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const MIB = 1024 * 1024;
/** File systems round up, and a build grows from one version to the next. */
const VOLUME_SHARE = 1.1;
/** What the gateway leaves free beside a copy (SPARE_BYTES in src/index/tiers/memory-folder.ts): no copy may count on it. */
const SPARE_MIB = 16;
/** Gateway, encoders and search threads of two models of the size of MiniLM; measure your own. */
const PROCESS_BYTES = 3 * 1024 * MIB;

const words = process.argv.slice(2);
const asJson = words.includes('--json');
const [folder, ...wanted] = words.filter((word) => !word.startsWith('--'));
if (folder === undefined) {
  process.stderr.write('usage: size-memory.mjs <bundles folder> [corpus/version …] [--json]\n');
  process.exit(2);
}

/** What the tier copies: the index, and the whole vectors where every search is rescored from them. */
function searchedBytes(manifest) {
  const rescored = manifest.quantization === 'i8' || manifest.quantization === 'b1';
  const truncated = manifest.dimensions !== (manifest.full_dimensions ?? manifest.dimensions);
  const names = ['index.usearch', ...(rescored || truncated ? ['vectors.f32'] : [])];
  return names.reduce((sum, name) => sum + (manifest.files[name]?.bytes ?? 0), 0);
}

const bundles = readdirSync(folder, { recursive: true })
  .map(String)
  .filter((name) => path.basename(name) === 'manifest.json')
  .map((name) => JSON.parse(readFileSync(path.join(folder, name), 'utf8')))
  .filter(({ corpus, version }) => wanted.length === 0 || wanted.includes(`${corpus}/${version}`));
if (bundles.length === 0) {
  process.stderr.write(`no bundle of ${wanted.join(', ') || 'any version'} in ${folder}\n`);
  process.exit(1);
}
const indexBytes = bundles.reduce((sum, manifest) => sum + searchedBytes(manifest), 0);
const copiesMib = Math.ceil((indexBytes * VOLUME_SHARE) / MIB);
const volumeMib = copiesMib + SPARE_MIB;
const sizes = {
  bundles: bundles.length,
  index_bytes: indexBytes,
  'emptyDir.sizeLimit': `${volumeMib}Mi`,
  'tiers.dram_bytes_max': copiesMib * MIB,
  'resources.limits.memory': `${volumeMib + PROCESS_BYTES / MIB}Mi`,
};
if (asJson) process.stdout.write(`${JSON.stringify(sizes)}\n`);
else for (const [name, value] of Object.entries(sizes)) process.stdout.write(`${name}: ${value}\n`);
