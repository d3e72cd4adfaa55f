/** Figures as both faces of the report write them. */
export const time = (ms: number): string => new Date(ms).toISOString().slice(0, 19).replace('T', ' ');
export const milliseconds = (us: number | null): string =>
  us === null ? '–' : us < 10_000 ? (us / 1000).toFixed(2) : (us / 1000).toFixed(1);
export const percent = (bps: number): string => `${bps / 100} %`;
export const score = (value: number): string => value.toFixed(3);

export function lasted(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7_200) return `${(seconds / 60).toFixed(1)} min`;
  return seconds < 172_800 ? `${(seconds / 3_600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} d`;
}
