export type Row = Readonly<Record<string, unknown>>;

/** What a row of the table falls short in; empty where it holds. Times are judged at full size alone. */
export function shortfalls(row: Row, size: 'smoke' | 'full'): readonly string[] {
  const short: string[] = [];
  const none = (what: string): void => {
    if (row[what] !== 0) short.push(`${what} is ${row[what]}, must be 0`);
  };
  none('wrong_answers');
  none('mispaired_responses');
  if (row.expected_lost === 'none') none('lost_requests');
  else none('lost_since_back');
  // What a request that was under way may come to does not hang on those that were sent after the signal.
  if (row.expected_lost === 'sent_after') {
    none('lost_sent_before');
    if (!(Number(row.sent_before) > 0)) short.push('no request was under way at the signal');
  }
  for (const kind of ['texts', 'vectors']) {
    const [refused, share] = [Number(row[`refused_${kind}`]), Number(row[`expected_refused_${kind}_max`])];
    const most = share * Number(row[kind]);
    if (!(refused <= most)) short.push(`${refused} ${kind} were refused, must be <= ${most}`);
  }
  if (row.expected_refused_texts_max === 0) none('refused_probes');
  const { recovery_ms, expected_recovery_ms_max: most } = row;
  if (size === 'full' && !(Number(recovery_ms) <= Number(most)))
    short.push(`recovery_ms ${recovery_ms} must be <= ${most}`);
  return short;
}
