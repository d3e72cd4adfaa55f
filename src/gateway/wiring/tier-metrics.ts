import type { OpenIndexReport, SearchPool } from '../../index/search-pool.js';
import type { Metrics } from '../../telemetry/metrics.js';
import { digestPrefix, type Tier } from '../../vocabulary.js';
import type { Engines } from './engines.js';
import type { TierWatch } from './tier-watch.js';

export const poolsOf = ({ pool, ssdPool }: Engines): readonly (readonly [Tier, SearchPool])[] => [
  ['dram', pool],
  ['ssd', ssdPool],
];

/** Memory and page faults per open index; those of shadows, which have processes of their own, are not here. */
export function observeTiers(metrics: Metrics, engines: Engines, watch: TierWatch): void {
  const pools = poolsOf(engines);
  const labels = ['corpus', 'version', 'build', 'tier', 'placement'] as const;
  type Labels = Record<(typeof labels)[number], string>;
  const perIndex = (value: (report: OpenIndexReport) => number | null): (readonly [Labels, number])[] =>
    pools.flatMap(([tier, pool]) =>
      pool.openIndexes().flatMap((report) => {
        const found = value(report);
        const { bundle, placement } = report;
        const { corpus, version } = bundle.manifest;
        const at = { corpus, version, build: digestPrefix(bundle.digest), tier, placement };
        return found === null ? [] : [[at, found] as const];
      }),
    );
  metrics.observe('switchyard_index_file_bytes', 'Bytes of the files of an open index', labels, () =>
    perIndex(({ bundle }) => Object.values(bundle.manifest.files).reduce((sum, { bytes }) => sum + bytes, 0)),
  );
  metrics.observe(
    'switchyard_index_resident_bytes',
    'Bytes of an open index that are in memory, looked at every 10 s',
    labels,
    () => perIndex((report) => watch.residentBytes(report)),
  );
  metrics.observeTotal(
    'switchyard_index_major_faults_total',
    'Pages that searches of an index in tier ssd read from the disk',
    labels,
    () => perIndex(({ majorFaults }) => majorFaults),
  );
  metrics.observe(
    'switchyard_search_major_faults',
    'Major page faults of the search threads that run now',
    ['tier'],
    () => pools.map(([tier, pool]) => [{ tier }, pool.majorFaults()]),
  );
  metrics.observeTotal(
    'switchyard_dram_warmings_total',
    'Times that indexes of tier dram were read into the page cache again',
    [],
    () => [[{}, watch.warmings]],
  );
  metrics.observe('switchyard_dram_bytes_used', 'Index bytes that tier dram holds', [], () => [
    [{}, engines.dram.budget.usedBytes],
  ]);
  metrics.observe('switchyard_dram_bytes_max', 'Index bytes that tier dram may hold', [], () => [
    [{}, engines.dram.budget.bytesMax],
  ]);
}
