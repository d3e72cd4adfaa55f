import type { Encoder, EncoderState } from '../encoder/encoder.js';
import { SwitchyardError, toSwitchyardError } from '../errors.js';
import type { SearchIndex } from '../index/search-index.js';
import type { RouteTarget } from '../registry/route.js';
import {
  type Device,
  type Digest,
  digestPrefix,
  type Fingerprint,
  modelRef,
  type Tier,
} from '../vocabulary.js';
import { type Resource, type Shared, SharedPool, type SharedPoolOptions } from './shared-pool.js';

/** `shared`: on the search workers of the gateway. `isolated`: in a process of its own, as a shadow must be (invariant 3). */
export type Isolation = 'shared' | 'isolated';

/** What a factory needs to open a target. */
export interface TargetSpec {
  readonly corpus: string;
  readonly version: string;
  readonly build: Digest;
  readonly fingerprint: Fingerprint;
  readonly modelRef: string;
  readonly tier: Tier;
  readonly bundleUri: string;
  readonly isolation: Isolation;
}

export interface ModelSpec {
  readonly fingerprint: Fingerprint;
  readonly modelRef: string;
}

/** How the process that wires the router up opens things. Each opened thing is closed by the router exactly once. */
export interface TargetFactories {
  /** Resolves when the files were verified and prefaulted. */
  openTarget(spec: TargetSpec): Promise<SearchIndex>;
  openEncoder(model: ModelSpec): Promise<Encoder>;
}

/** Encoder and index as one unit (invariant 1): the only pairing the rest of the router can reach. */
export interface OpenTarget {
  readonly spec: TargetSpec;
  readonly index: SearchIndex;
  readonly encoder: Encoder;
}

/** One line of what a replica reports about the targets it should hold. */
export interface TargetReport {
  readonly spec: TargetSpec;
  /** As of now: a target whose encoder or index cannot work at this moment is `failed`, although it was loaded. */
  readonly state: 'loading' | 'ready' | 'failed';
  /** Why it failed, also while it is tried again; else null. */
  readonly error: SwitchyardError | null;
}

/** A model that this replica holds an encoder of, opens one of, or could not open one of the last time. */
export interface EncoderReport {
  readonly model: ModelSpec;
  /** `failed` also while one is opened again, until it is ready. */
  readonly state: Exclude<EncoderState['kind'], 'closed'>;
  /** Null while it is not ready. */
  readonly provider: Device | null;
  /** Why it failed; null in every other state. */
  readonly error: SwitchyardError | null;
}

const WARM_UP_TEXT = 'warm up';

/** Every target and encoder this replica holds, each opened once whatever number of routes and revisions wants it. */
export class TargetStore {
  private readonly factories: TargetFactories;
  private readonly targets: SharedPool<OpenTarget, TargetResource>;
  private readonly encoders: SharedPool<Encoder, EncoderResource>;

  constructor(factories: TargetFactories, options: SharedPoolOptions) {
    this.factories = factories;
    this.targets = new SharedPool(options);
    // A target waits for its encoder, so its own change says all there is to say.
    this.encoders = new SharedPool({ ...options, onChange: () => {} });
  }

  /** The caller releases it once. */
  acquire(spec: TargetSpec): Shared<OpenTarget> {
    return this.targets.acquire(targetKey(spec), new TargetResource(spec, this.factories, this));
  }

  /** Holds a model's encoder, whether or not a target needs it. The caller releases it once. */
  acquireEncoder(model: ModelSpec): Shared<Encoder> {
    return this.encoders.acquire(model.fingerprint, {
      model,
      open: () => openReady(() => this.factories.openEncoder(model), model),
      close: (encoder) => encoder.close(),
    });
  }

  /** The encoder of a model that some target or hold has open, by `name@version` or fingerprint. */
  findEncoder(model: string): Shared<Encoder> | null {
    const byFingerprint = this.encoders.get(model);
    if (byFingerprint?.value) return byFingerprint;
    for (const shared of this.encoders.values())
      if (shared.value !== null && modelRef(shared.value.model) === model) return shared;
    return null;
  }

  openEncoders(): readonly Encoder[] {
    return [...this.encoders.values()].flatMap(({ value }) => (value === null ? [] : [value]));
  }

  encoderReport(): readonly EncoderReport[] {
    const known = new Map<
      Fingerprint,
      { readonly model: ModelSpec; readonly error: SwitchyardError | null }
    >();
    // Between two attempts of its targets nobody may hold an encoder that failed, so they say how the last one ended.
    for (const { resource } of this.targets.values())
      if (resource.encoderError !== null)
        known.set(resource.spec.fingerprint, { model: resource.spec, error: resource.encoderError });
    for (const { resource, error } of this.encoders.values()) {
      const { model } = resource;
      known.set(model.fingerprint, { model, error: error ?? known.get(model.fingerprint)?.error ?? null });
    }
    return [...known].flatMap(([fingerprint, { model, error }]): readonly EncoderReport[] => {
      const state = this.encoders.get(fingerprint)?.value?.state ?? null;
      if (state === null)
        return [{ model, state: error === null ? 'starting' : 'failed', provider: null, error }];
      if (state.kind === 'closed') return [];
      return [
        {
          model,
          state: state.kind,
          provider: state.kind === 'ready' ? state.provider : null,
          error: state.kind === 'failed' ? toSwitchyardError(state.error) : null,
        },
      ];
    });
  }

  report(): readonly TargetReport[] {
    return [...this.targets.values()].flatMap(({ resource: { spec }, state: { kind }, value, error }) => {
      if (kind === 'closed') return [];
      const unable = value === null ? null : whyDown(value);
      return [unable === null ? { spec, state: kind, error } : { spec, state: 'failed', error: unable }];
    });
  }

  /** Resolves when nobody holds a target or an encoder any more and all of them are closed. */
  async empty(): Promise<void> {
    await this.targets.empty();
    await this.encoders.empty();
  }
}

interface EncoderResource extends Resource<Encoder> {
  readonly model: ModelSpec;
}

/** Opens the index and waits for the encoder side by side, and gives neither away unless they fit. */
class TargetResource implements Resource<OpenTarget> {
  readonly spec: TargetSpec;
  private readonly factories: TargetFactories;
  private readonly store: TargetStore;
  /** Held while there is a target, and from one attempt to the next once it is open: what fails of it then heals by itself. */
  private encoder: Shared<Encoder> | null = null;
  private lastEncoderError: SwitchyardError | null = null;

  constructor(spec: TargetSpec, factories: TargetFactories, store: TargetStore) {
    this.spec = spec;
    this.factories = factories;
    this.store = store;
  }

  /** Why the encoder could not be opened in the last attempt that got so far; null where it could. */
  get encoderError(): SwitchyardError | null {
    return this.lastEncoderError;
  }

  async open(): Promise<OpenTarget> {
    const { spec } = this;
    this.encoder ??= this.store.acquireEncoder(spec);
    const [index, encoder] = await Promise.allSettled([
      this.factories.openTarget(spec),
      this.encoder.whenReady(),
    ]);
    this.lastEncoderError = encoder.status === 'rejected' ? toSwitchyardError(encoder.reason) : null;
    try {
      if (index.status === 'rejected') throw index.reason;
      if (encoder.status === 'rejected') throw encoder.reason;
      const target: OpenTarget = Object.freeze({ spec, index: index.value, encoder: encoder.value });
      assertFits(target);
      await warmUp(target);
      return target;
    } catch (error) {
      try {
        if (index.status === 'fulfilled') await index.value.close();
      } finally {
        if (this.encoder.value === null) this.giveUp();
      }
      throw error;
    }
  }

  /** Nobody encodes for this target any more, so its encoder need not wait for an index that is slow to close. */
  async close(target: OpenTarget): Promise<void> {
    this.giveUp();
    await target.index.close();
  }

  giveUp(): void {
    this.encoder?.release();
    this.encoder = null;
  }
}

/**
 * A shadow that gets weight is opened again on the search workers first, so isolation is part of what a target is; and
 * so is the place it is read from, because a build may be recorded again elsewhere when the first place fails.
 */
export const targetKey = (spec: TargetSpec): string =>
  `${spec.build}/${spec.tier}/${spec.isolation}/${spec.bundleUri}`;

export function targetSpec(corpus: string, target: RouteTarget): TargetSpec {
  return Object.freeze({
    corpus,
    version: target.version,
    build: target.build,
    fingerprint: target.fingerprint,
    modelRef: target.modelRef,
    tier: target.tier,
    bundleUri: target.bundleUri,
    isolation: target.role === 'shadow' ? 'isolated' : 'shared',
  });
}

/** Why a loaded pair cannot answer at this moment, or null. Its engines come back by themselves. */
export function whyDown({ encoder, index }: OpenTarget): SwitchyardError | null {
  const { state, model } = encoder;
  if (state.kind === 'ready') return index.unavailable;
  if (state.kind === 'failed') return toSwitchyardError(state.error);
  return new SwitchyardError('ENCODER_UNAVAILABLE', `the encoder of ${modelRef(model)} is ${state.kind}`);
}

async function openReady(open: () => Promise<Encoder>, model: ModelSpec): Promise<Encoder> {
  const encoder = await open();
  try {
    await encoder.ready();
    if (encoder.model.fingerprint !== model.fingerprint)
      throw new SwitchyardError(
        'FINGERPRINT_MISMATCH',
        `the encoder opened for ${model.modelRef} has fingerprint ${encoder.model.fingerprint}, ` +
          `the registry says ${model.fingerprint}: import the model again`,
      );
    return encoder;
  } catch (error) {
    await encoder.close();
    throw error;
  }
}

/** Invariant 1 at target add: what the route says, what the bundle says and what the encoder says are one model. */
function assertFits({ spec, index, encoder }: OpenTarget): void {
  const { digest, manifest } = index.bundle;
  const name = `build ${digestPrefix(spec.build)} of ${spec.corpus}/${spec.version}`;
  if (digest !== spec.build || manifest.corpus !== spec.corpus || manifest.version !== spec.version)
    throw new SwitchyardError(
      'CORRUPT_BUNDLE',
      `${name} was opened as build ${digestPrefix(digest)} of ${manifest.corpus}/${manifest.version}`,
    );
  const { fingerprint } = encoder.model;
  if (manifest.model.fingerprint !== spec.fingerprint || fingerprint !== spec.fingerprint)
    throw new SwitchyardError(
      'FINGERPRINT_MISMATCH',
      `${name} was built by ${manifest.model.fingerprint}, its encoder is ${fingerprint}, ` +
        `the route says ${spec.fingerprint} (${spec.modelRef})`,
    );
  if (manifest.full_dimensions !== encoder.model.dimensions)
    throw new SwitchyardError(
      'DIMENSION_MISMATCH',
      `${name} takes vectors of ${manifest.full_dimensions} numbers, its model gives ${encoder.model.dimensions}`,
    );
}

/** One query through the pair before it counts as ready, so that the first client does not pay for cold code and pages. */
async function warmUp({ index, encoder }: OpenTarget): Promise<void> {
  const encoded = await encoder.encode({
    texts: [WARM_UP_TEXT],
    role: 'query',
    lane: 'bulk',
    deadlineAtMs: Number.POSITIVE_INFINITY,
  });
  await index.search({
    vector: { fingerprint: encoded.fingerprint, values: encoded.values },
    topK: 1,
    lane: 'bulk',
    deadlineAtMs: Number.POSITIVE_INFINITY,
    withDocument: false,
  });
}
