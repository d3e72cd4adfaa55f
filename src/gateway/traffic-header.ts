/** Says in HTTP what a search is for. */
export const TRAFFIC_HEADER = 'x-switchyard-traffic';
/** It compares versions: whoever sends it depends on none, and it is not counted. */
export const EVALUATION = 'evaluation';
