/**
 * Loaded into the gateway before anything else: its wall clock then jumps at SIGUSR2, an hour forward, an hour back, and
 * to the right time again. Machines do this when they resume, or when somebody sets their clock.
 */
const HOUR_MS = 3_600_000;
const OFFSETS_MS = [0, HOUR_MS, -HOUR_MS] as const;

const RealDate = Date;
const realNow = Date.now.bind(Date);
let jumps = 0;
const offsetMs = (): number => OFFSETS_MS[jumps % OFFSETS_MS.length] as number;

class JumpingDate extends RealDate {
  constructor(...given: [] | [number | string | Date]) {
    if (given.length === 0) super(realNow() + offsetMs());
    else super(given[0]);
  }

  static override now(): number {
    return realNow() + offsetMs();
  }
}

globalThis.Date = JumpingDate as DateConstructor;
process.on('SIGUSR2', () => {
  jumps++;
});
