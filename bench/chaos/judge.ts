export type Row = Readonly<Record<string, unknown>>;

/** What a row of the table falls short in; empty where it holds. Times are judged at full size alone. */
export function shortfalls(row: Row, size: 'smoke' | 'full'): readonly string[] {
  if (row.skipped !== undefined) return [];
  const [requests, refused] = [Number(row.requests), Number(row.refused)];
  const short: string[] = [];
  const none = (what: string): void => {
    if (row[what] !== 0) short.push(`${what} is ${row[what]}, must be 0`);
  };
  none('wrong_answers');
  none('mispaired_responses');
  if (row.expected_lost === 'none') none('lost_requests');
  // What a request sent before a signal may come to does not hang on those that were sent after it.
  if (row.expected_lost === 'sent_after') {
    none('lost_sent_before');
    if (!(Number(row.sent_before) > 0)) short.push('no request was sent before the signal');
  }
  const refusedMax = Number(row.expected_refused_share_max) * requests;
  if (!(refused <= refusedMax)) short.push(`${refused} were refused, must be <= ${refusedMax}`);
  const { recovery_ms, expected_recovery_ms_max: most } = row;
  if (size === 'full' && !(Number(recovery_ms) <= Number(most)))
    short.push(`recovery_ms ${recovery_ms} must be <= ${most}`);
  return short;
}
