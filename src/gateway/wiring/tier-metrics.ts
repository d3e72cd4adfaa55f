import type { Bundle } from '../../index/manifest.js';
import type { ProcessIndex } from '../../index/process/process-index.js';
import type { OpenIndexReport, SearchPool } from '../../index/search-pool.js';
import { majorFaultsOfProcess } from '../../index/thread-faults.js';
import type { Metrics } from '../../telemetry/metrics.js';
import { digestPrefix, type Tier } from '../../vocabulary.js';
import type { Engines } from './engines.js';
import type { TierWatch } from './tier-watch.js';

export const poolsOf = ({ pool, ssdPool }: Engines): readonly (readonly [Tier, SearchPool])[] => [
  ['dram', pool],
  ['ssd', ssdPool],
];

/** Of a shadow: mapped from disk, whatever its tier, by a process of its own. */
const IN_PROCESS = { tier: 'ssd', placement: 'process' } as const;

const fileBytes = ({ manifest }: Bundle): number =>
  Object.values(manifest.files).reduce((sum, { bytes }) => sum + bytes, 0);

/** Memory and page faults per open index. */
export function observeTiers(metrics: Metrics, engines: Engines, watch: TierWatch): void {
  const pools = poolsOf(engines);
  const labels = ['corpus', 'version', 'build', 'tier', 'placement'] as const;
  type Labels = Record<(typeof labels)[number], string>;
  const nameOf = ({ digest, manifest: { corpus, version } }: Bundle) => ({
    corpus,
    version,
    build: digestPrefix(digest),
  });
  const perIndex = (
    value: (report: OpenIndexReport) => number | null,
    ofShadow: (shadow: ProcessIndex, pid: number) => number,
  ): (readonly [Labels, number])[] => {
    const inPools = pools.flatMap(([tier, pool]) =>
      pool.openIndexes().flatMap((report) => {
        const found = value(report);
        const { bundle, placement } = report;
        return found === null ? [] : [[{ ...nameOf(bundle), tier, placement }, found] as const];
      }),
    );
    const inProcesses = engines.processes.indexes.flatMap((shadow) => {
      const { state, bundle } = shadow;
      if (state.kind !== 'ready') return [];
      return [[{ ...nameOf(bundle), ...IN_PROCESS }, ofShadow(shadow, state.pid)] as const];
    });
    return [...inPools, ...inProcesses];
  };
  metrics.observe('switchyard_index_file_bytes', 'Bytes of the files of an open index', labels, () =>
    perIndex(
      ({ bundle }) => fileBytes(bundle),
      ({ bundle }) => fileBytes(bundle),
    ),
  );
  metrics.observe(
    'switchyard_index_resident_bytes',
    'Bytes of an open index that are in memory, looked at every 10 s',
    labels,
    () =>
      perIndex(
        (report) => watch.residentBytes(report),
        (shadow) => watch.shadowResidentBytes(shadow),
      ),
  );
  metrics.observeTotal(
    'switchyard_index_major_faults_total',
    'Pages that searches of an index read from the disk; of a shadow, all that its process did',
    labels,
    () =>
      perIndex(
        ({ majorFaults }) => majorFaults,
        (_shadow, pid) => majorFaultsOfProcess(pid),
      ),
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
