import type { ConstantLoad } from './load.js';
import type { ChaosRig } from './rig.js';
import type { Sign } from './signs.js';
import type { QueryKind } from './tally.js';

/** What may become of the requests of a fault, beside right answers. */
export interface Expected {
  /**
   * `none`: no request may be lost. `sent_after`: none that was under way when the gateway was told to go, but what was
   * sent after that and before its successor listened. `in_flight`: also what a process that ends without warning takes
   * with it. Nothing that is sent once it listens again may be lost, whatever the fault.
   */
  readonly lost: 'none' | 'sent_after' | 'in_flight';
  /** At most these shares of its texts and of its vectors may be refused, with an error that says to try again. */
  readonly refusedMax: Readonly<Record<QueryKind, number>>;
  /** Generous, for it is a time; judged at full size alone. */
  readonly recoveryMsMax: number;
}

export interface Fault {
  readonly name: string;
  /** What must have healed of the faults before, or this one would be met by nobody. */
  ready?(rig: ChaosRig): Promise<boolean>;
  /** Returns why it cannot be injected here, where it cannot. */
  inject(rig: ChaosRig, load: ConstantLoad): Promise<string | undefined> | Promise<void> | void;
  /** Absent where the fault is over when it was injected, or the gateway has to mend it alone. */
  heal?(rig: ChaosRig): Promise<void> | void;
  /** A number that rises when the gateway has met the fault: it is held until then, and one that is not met fails the run. */
  readonly met?: Sign;
  /** By how much it must rise, 1 unless it is given: more than it could without the fault. */
  readonly metBy?: number;
  /** Only for what some machines do not allow at all; any other fault that cannot be injected fails the run. */
  readonly maySkip?: true;
  readonly expected: Expected;
  /** False: it costs the smoke a start of the gateway, and a test of its own does the same. */
  readonly inSmoke?: false;
}

const NOBODY = { text: 0, vector: 0 } as const;
/** A machine that is busy with something else refuses some for that. */
const FEW = { text: 0.1, vector: 0.1 } as const;

/** Nobody but an operator may notice. */
export const UNNOTICED: Expected = { lost: 'none', refusedMax: NOBODY, recoveryMsMax: 10_000 };
/** Vectors need no encoder; nor do the texts that are remembered, and those that wait for it. */
export const TEXTS_REFUSED: Expected = {
  lost: 'none',
  refusedMax: { text: 0.8, vector: 0 },
  recoveryMsMax: 45_000,
};
/** What was held up is answered, or told to try again. */
export const HELD_UP: Expected = { lost: 'none', refusedMax: FEW, recoveryMsMax: 30_000 };
/** More at once than may be let in; on a slow machine most of it. */
export const SHED: Expected = {
  lost: 'none',
  refusedMax: { text: 0.9, vector: 0.9 },
  recoveryMsMax: 30_000,
};
export const KILLED: Expected = { lost: 'in_flight', refusedMax: FEW, recoveryMsMax: 60_000 };
/** Many are sent at once to be under way, and what goes refuses what it does not take on. */
export const DRAINED: Expected = { ...SHED, lost: 'sent_after', recoveryMsMax: 60_000 };
/** What is sent while no fault is at work and all have healed: a row of its own. */
export const BETWEEN = 'between the faults';
export const UNDISTURBED: Expected = { lost: 'none', refusedMax: FEW, recoveryMsMax: 0 };
