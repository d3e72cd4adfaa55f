import { SwitchyardError } from '../../errors.js';
import { type Digest, digestPrefix } from '../../vocabulary.js';

/** What a build would take of the budget. */
export interface Claim {
  readonly digest: Digest;
  readonly bytes: number;
  /** For the error: `docs/v1`. */
  readonly name: string;
}

/** Memory of the `dram` tier in this process, by digest: a build that is held twice is there once. */
export class MemoryBudget {
  readonly bytesMax: number;
  readonly #held = new Map<Digest, { bytes: number; count: number }>();

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return [...this.#held.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Errors: MEMORY_BUDGET, saying by how much, when these do not fit beside what is held. */
  check(claims: readonly Claim[]): void {
    const fresh = new Map(
      claims.filter(({ digest }) => !this.#held.has(digest)).map((claim) => [claim.digest, claim]),
    );
    const wanted = [...fresh.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    const { usedBytes, bytesMax } = this;
    const shortBytes = usedBytes + wanted - bytesMax;
    if (wanted === 0 || shortBytes <= 0) return;
    const names = [...fresh.values()]
      .map(({ name, digest }) => `${name} (${digestPrefix(digest)})`)
      .join(', ');
    throw new SwitchyardError(
      'MEMORY_BUDGET',
      `${names} in tier dram needs ${wanted} bytes; ${usedBytes} of ${bytesMax} are taken, so ${shortBytes} are missing: serve it from ssd, demote another target, use a smaller format, or raise tiers.dram_bytes_max`,
      {
        details: {
          needed_bytes: String(wanted),
          used_bytes: String(usedBytes),
          limit_bytes: String(bytesMax),
          short_bytes: String(shortBytes),
        },
      },
    );
  }

  /** Errors: MEMORY_BUDGET. The answer lets go of it, once. */
  take(claim: Claim): () => void {
    this.check([claim]);
    const { digest, bytes } = claim;
    const held = this.#held.get(digest) ?? { bytes, count: 0 };
    held.count++;
    this.#held.set(digest, held);
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      if (--held.count === 0) this.#held.delete(digest);
    };
  }
}
