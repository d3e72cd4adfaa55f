import fc from 'fast-check';
import t from 'tap';
import type { BundleManifest } from '../../src/index/manifest.js';
import { pairKind } from '../../src/router/pair-kind.js';
import { textCall, V1, V1B, V2 } from './harness.js';
import { mirroring, quiet } from './mirroring.js';
import { type BuildPlan, CORPUS, createEngines } from './small-engines.js';
import { bundleOf } from './small-manifests.js';

/** The embeddings of v1, inserted the other way round. */
const V1_REVERSED: BuildPlan = { ...V1, name: 'v1-reversed', documents: [...V1.documents].reverse() };

t.test('a second build in another insertion order is the noise floor of the first', async (t) => {
  const engines = createEngines([V1, V1_REVERSED]);
  const rig = await mirroring({ engines }, V1_REVERSED);
  await rig.router.search(textCall('owl'));
  await quiet(rig);
  t.match(rig.recorder.report(CORPUS), [{ compared: 1, pair: { kind: 'noise_floor' } }]);
  await rig.router.close();
});

t.test('a build of other documents or by another model is not', async (t) => {
  const manifest = (plan: BuildPlan) => bundleOf(plan).manifest;
  t.equal(pairKind(manifest(V1), manifest(V1_REVERSED)), 'noise_floor');
  t.equal(pairKind(manifest(V1), manifest(V1B)), 'candidate');
  t.equal(pairKind(manifest(V1), manifest(V2)), 'candidate');
  t.equal(pairKind(manifest(V1), manifest({ ...V1_REVERSED, model: V2.model })), 'candidate');
});

t.test('nor is one with any other parameter', async (t) => {
  const { manifest } = bundleOf(V1);
  const others: readonly Partial<BundleManifest>[] = [
    { quantization: 'bf16' },
    { quantization: 'i8' },
    { dimensions: manifest.dimensions / 2 },
    { full_dimensions: manifest.full_dimensions * 2 },
    { metric: 'dot' },
    { connectivity: 32 },
    { expansion_add: 256 },
    { expansion_search: 65 },
    { rescore_factor: 4 },
    { document_template: '{title} {text}' },
    { text_normalisation: 'nfc' },
    { row_count: manifest.row_count + 1 },
  ];
  const reversed = bundleOf(V1_REVERSED).manifest;
  const held = fc.check(
    fc.property(fc.subarray([...others], { minLength: 1 }), (changes) => {
      const other = Object.assign({}, reversed, ...changes) as BundleManifest;
      return pairKind(manifest, other) === 'candidate' && pairKind(other, manifest) === 'candidate';
    }),
  );
  t.notOk(held.failed, JSON.stringify(held.counterexample));
});
