import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { type Static, Type } from '@sinclair/typebox';
import { type SwitchyardError, toSwitchyardError } from '../../errors.js';
import { type Route, routeIdentity } from '../../registry/route.js';
import { TARGET_ROLES, TIERS } from '../../vocabulary.js';
import { readSealedFile, writeSealedFile } from './sealed-file.js';

const FORMAT = 'switchyard.route-snapshot/1';
const SUFFIX = '.json';

const closed = { additionalProperties: false } as const;
const oneOf = <Word extends string>(words: readonly Word[]) =>
  Type.Union(words.map((word) => Type.Literal(word)));
const bps = Type.Integer({ minimum: 0, maximum: 10_000 });

const SnapshotSchema = Type.Object(
  {
    written_at: Type.String(),
    route: Type.Object(
      {
        corpus: Type.String({ minLength: 1 }),
        revision: Type.Integer({ minimum: 1 }),
        salt: Type.String({ minLength: 1 }),
        targets: Type.Array(
          Type.Object(
            {
              version: Type.String({ minLength: 1 }),
              build: Type.String({ pattern: '^[0-9a-f]{64}$' }),
              fingerprint: Type.String({ pattern: '^mf1_[0-9a-f]{32}$' }),
              modelRef: Type.String({ minLength: 1 }),
              role: oneOf(TARGET_ROLES),
              weightBps: bps,
              tier: oneOf(TIERS),
              mirrorBps: bps,
              bundleUri: Type.String(),
            },
            closed,
          ),
          { minItems: 1 },
        ),
      },
      closed,
    ),
    /** Every registered model, so that a known one without a target is told from an unknown one. */
    models: Type.Array(Type.Object({ modelRef: Type.String(), fingerprint: Type.String() }, closed)),
  },
  closed,
);

export interface KnownModel {
  readonly modelRef: string;
  readonly fingerprint: string;
}

export interface DiskSnapshot {
  readonly route: Route;
  readonly models: readonly KnownModel[];
  /** ISO 8601. */
  readonly writtenAt: string;
}

export interface DiskSnapshotsRead {
  readonly snapshots: readonly DiskSnapshot[];
  /** One for each file that was refused. */
  readonly damaged: readonly SwitchyardError[];
}

/**
 * The last applied route of each corpus under `<varDir>/snapshots/<corpus>.json`: what a gateway serves that boots
 * while the registry is away. Gateways of one var_dir share the folder; the newest revision of a route stays.
 */
export class DiskSnapshots {
  readonly #folder: string;
  /** What this process last wrote or found: identity of the route and models per corpus. */
  readonly #written = new Map<string, string>();
  #writing: Promise<void> = Promise.resolve();

  constructor(varDir: string) {
    this.#folder = path.join(varDir, 'snapshots');
  }

  /** Writes unless it is there already, or a newer revision of the same route is. Errors: DISK_FULL. */
  write(route: Route, models: readonly KnownModel[]): Promise<void> {
    const identity = JSON.stringify([routeIdentity(route), models]);
    if (this.#written.get(route.corpus) === identity) return Promise.resolve();
    const write = this.#writing.then(async () => {
      if (this.#written.get(route.corpus) === identity) return;
      if (!(await this.#hasNewer(route))) {
        const { corpus, revision, salt, targets } = route;
        await writeSealedFile(this.#file(corpus), FORMAT, {
          written_at: new Date().toISOString(),
          route: { corpus, revision, salt, targets },
          models: models.map(({ modelRef, fingerprint }) => ({ modelRef, fingerprint })),
        });
      }
      this.#written.set(route.corpus, identity);
    });
    // The next write does not care how this one ended; its caller does.
    this.#writing = write.catch(() => undefined);
    return write;
  }

  async read(): Promise<DiskSnapshotsRead> {
    const snapshots: DiskSnapshot[] = [];
    const damaged: SwitchyardError[] = [];
    for (const name of await this.#names()) {
      try {
        const content = await readSealedFile(path.join(this.#folder, name), FORMAT, SnapshotSchema);
        if (content !== null) snapshots.push(toSnapshot(content));
      } catch (error) {
        damaged.push(toSwitchyardError(error));
      }
    }
    return { snapshots, damaged };
  }

  /** Resolves when nothing is being written any more. */
  settled(): Promise<void> {
    return this.#writing;
  }

  async #names(): Promise<readonly string[]> {
    try {
      const names = await readdir(this.#folder);
      return names.filter((name) => name.endsWith(SUFFIX) && !name.startsWith('.')).sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  async #hasNewer(route: Route): Promise<boolean> {
    try {
      const content = await readSealedFile(this.#file(route.corpus), FORMAT, SnapshotSchema);
      return content !== null && content.route.salt === route.salt && content.route.revision > route.revision;
    } catch {
      return false; // damaged: what is written now mends it
    }
  }

  #file(corpus: string): string {
    return path.join(this.#folder, `${corpus}${SUFFIX}`);
  }
}

const toSnapshot = (content: Static<typeof SnapshotSchema>): DiskSnapshot => ({
  // The patterns of the schema are what the brands stand for.
  route: content.route as unknown as Route,
  models: content.models,
  writtenAt: content.written_at,
});
