import type { ReportModel } from './model.js';
import { time } from './words.js';

export const TIMELINE_HEADER = ['at (UTC)', 'event', 'state', 'step', 'revision', 'who', 'why'] as const;

/** Everything that happened, a row an event, as either form of the report lists it; not yet escaped. */
export const timelineRows = ({ timeline }: ReportModel): readonly (readonly string[])[] =>
  timeline.map((row) => [
    time(row.atMs),
    row.event,
    row.state,
    row.step,
    row.routeRevision === null ? '' : String(row.routeRevision),
    row.who,
    row.why,
  ]);
