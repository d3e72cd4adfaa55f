import { REASONS, type SwitchyardError } from '../errors.js';
import { Breaker, type BreakerOptions } from '../process/breaker.js';
import type { Timers } from '../process/timers.js';
import { digestPrefix } from '../vocabulary.js';
import type { Blame, TrafficKind } from './metrics.js';
import { compilePickTable, pickAtRandom, pickByKey } from './pick.js';
import type { SearchCall } from './query.js';
import type { Shared } from './shared-pool.js';
import type { RouteSnapshot, SnapshotTarget } from './snapshot.js';
import { type OpenTarget, whyDown } from './targets.js';

export interface EjectionOptions {
  /** So many failures in a row eject a target, for a time that doubles with each trial that fails. */
  readonly breaker: BreakerOptions;
  /** A request that had at least so long and was not answered counts as a failure of its target. */
  readonly timeoutMs: number;
}

export const DEFAULT_EJECTION: EjectionOptions = Object.freeze({
  breaker: Object.freeze({ failuresToOpen: 5, openMsFirst: 1_000, openMsMax: 60_000 }),
  timeoutMs: 1_000,
});

/** What an operator sees of one target of a route. */
export interface EjectionReport {
  readonly corpus: string;
  readonly version: string;
  readonly build: string;
  /** `failing`: as bad, and served all the same, since nothing of its model could take its place. */
  readonly state: 'in_use' | 'ejected' | 'failing';
  readonly ejections: number;
  /** Requests that another target of the model answered in its place. */
  readonly fallbacks: number;
}

interface Health {
  readonly breaker: Breaker;
  /** One failure that several requests share, as that of a batch's one encode call, counts once. */
  readonly counted: WeakMap<SwitchyardError, Set<TrafficKind>>;
  ejections: number;
  fallbacks: number;
}

const NONE: readonly SnapshotTarget[] = Object.freeze([]);

/**
 * Which targets are kept away from traffic because they fail. Their share goes to other targets of the same model and
 * to nothing else (invariant 1): where there is none, a failing target is served, so a corpus never loses its last one.
 */
export class Ejections {
  private readonly options: EjectionOptions;
  private readonly timers: Timers;
  private readonly random: () => number;
  /** A target keeps its health over route changes for as long as it is held. */
  private readonly health = new WeakMap<Shared<OpenTarget>, Health>();
  private readonly others = new WeakMap<SnapshotTarget, readonly SnapshotTarget[]>();

  constructor(options: EjectionOptions, timers: Timers, random: () => number) {
    this.options = options;
    this.timers = timers;
    this.random = random;
  }

  /** The target that was picked, or the one that takes its place while it is ejected or cannot answer. */
  choose(snapshot: RouteSnapshot, picked: SnapshotTarget, call: SearchCall): SnapshotTarget {
    const others = this.othersOf(snapshot, picked);
    const passes = this.healthOf(picked).breaker.tryPass();
    if (others.length === 0 || (passes && isUp(picked))) return picked;
    if (passes) this.healthOf(picked).breaker.passed();
    return this.another(snapshot, picked, call) ?? picked;
  }

  /** A usable target of the same model, and of the same version where the call pins one; null for none. */
  another(snapshot: RouteSnapshot, failing: SnapshotTarget, call: SearchCall): SnapshotTarget | null {
    const usable = this.usableOf(snapshot, failing).filter(
      ({ route }) => call.corpusVersion === null || route.version === call.corpusVersion,
    );
    const { affinityKey } = call;
    if (usable.length === 0) return null;
    const table = compilePickTable(
      usable.map((item) => ({ item, identity: item.route.build, weight: Math.max(1, item.route.weightBps) })),
    );
    const other =
      affinityKey === null || affinityKey === ''
        ? pickAtRandom(table, this.random)
        : pickByKey(table, snapshot.salt, affinityKey);
    if (other !== null) this.healthOf(failing).fallbacks++;
    return other;
  }

  /** The target answered. */
  succeeded(target: SnapshotTarget): void {
    this.healthOf(target).breaker.succeeded();
  }

  /** A request that was meant for it is over, whether or not it was asked anything: the next one may be its trial. */
  passed(target: SnapshotTarget): void {
    this.healthOf(target).breaker.passed();
  }

  /**
   * A request failed at the target, for which it could wait so long: whoever is in a hurry gets no answer from anybody.
   * What is not the target's fault leaves its failures in a row as they are, and so does what is counted already. Each
   * kind of traffic is told of it once, so that whoever measures one of them does not miss what the other met first.
   */
  failed(target: SnapshotTarget, kind: TrafficKind, error: SwitchyardError, hadMs: number): Blame {
    const health = this.healthOf(target);
    if (!isFault(error) || (error.reason === 'DEADLINE_EXCEEDED' && hadMs < this.options.timeoutMs)) {
      health.breaker.passed();
      return 'none';
    }
    const told = health.counted.get(error);
    if (told !== undefined) {
      health.breaker.passed();
      if (told.has(kind)) return 'shared';
      told.add(kind);
      return 'own';
    }
    health.counted.set(error, new Set([kind]));
    const before = health.breaker.state;
    health.breaker.failed();
    const { state } = health.breaker;
    if (state.kind === 'open' && state !== before) health.ejections++;
    return 'own';
  }

  report(snapshot: RouteSnapshot): readonly EjectionReport[] {
    return snapshot.targets
      .filter(({ route }) => route.role !== 'shadow')
      .map((target) => {
        const { breaker, ejections, fallbacks } = this.healthOf(target);
        const { version, build } = target.route;
        const hasOther = this.usableOf(snapshot, target).length > 0;
        const state = breaker.state.kind === 'closed' ? 'in_use' : hasOther ? 'ejected' : 'failing';
        return { corpus: snapshot.corpus, version, build: digestPrefix(build), state, ejections, fallbacks };
      });
  }

  /** Whether what is meant for a target can be answered by another. */
  hasOther(snapshot: RouteSnapshot, target: SnapshotTarget): boolean {
    return this.usableOf(snapshot, target).length > 0;
  }

  private usableOf(snapshot: RouteSnapshot, target: SnapshotTarget): readonly SnapshotTarget[] {
    return this.othersOf(snapshot, target).filter(
      (other) => this.healthOf(other).breaker.state.kind === 'closed' && isUp(other),
    );
  }

  /** Shadows serve nobody, so they take nobody's place. */
  private othersOf(snapshot: RouteSnapshot, target: SnapshotTarget): readonly SnapshotTarget[] {
    const known = this.others.get(target);
    if (known !== undefined) return known;
    const { build, fingerprint } = target.route;
    const found = snapshot.targets.filter(
      ({ route }) => route.fingerprint === fingerprint && route.build !== build && route.role !== 'shadow',
    );
    const others = found.length === 0 ? NONE : Object.freeze(found);
    this.others.set(target, others);
    return others;
  }

  private healthOf({ shared }: SnapshotTarget): Health {
    const known = this.health.get(shared);
    if (known !== undefined) return known;
    const breaker = new Breaker(this.options.breaker, () => this.timers.nowMs());
    const fresh: Health = { breaker, counted: new WeakMap(), ejections: 0, fallbacks: 0 };
    this.health.set(shared, fresh);
    return fresh;
  }
}

function isUp({ shared }: SnapshotTarget): boolean {
  const { value } = shared;
  return value !== null && whyDown(value) === null;
}

/** The request's own mistakes, and a queue that is full, say nothing against a target. */
export function isFault({ reason }: SwitchyardError): boolean {
  if (reason === 'QUEUE_FULL' || reason === 'OVERLOADED' || reason === 'SHUTTING_DOWN') return false;
  const { http } = REASONS[reason];
  return http >= 500 || reason === 'FINGERPRINT_MISMATCH';
}
