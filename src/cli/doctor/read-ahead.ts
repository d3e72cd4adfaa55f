import { readAheadOf } from '../../files/read-ahead.js';
import { type Finding, ok, warn } from './finding.js';

/** Linux's own default. An ssd search wants small pages from everywhere; what is read around each is read in vain. */
const KIB_MAX = 128;

/** What a page fault reads from the disk of the bundles decides how fast tier ssd is beyond memory. */
export function checkReadAhead(bundlesDir: string): Finding[] {
  const readAhead = readAheadOf(bundlesDir);
  if (readAhead === null) return [];
  const { kib, file } = readAhead;
  const found = `a page fault reads ${kib} KiB from the disk of ${bundlesDir}`;
  return [
    kib <= KIB_MAX
      ? ok('read-ahead', found)
      : warn(
          'read-ahead',
          found,
          `an index of tier ssd that does not fit into memory is searched many times faster with little: echo 16 > ${file}`,
        ),
  ];
}
