import type { Registry } from '../../registry/registry.js';

/** What a migration asked every replica to hold of a version in advance, whichever builds, is asked for no more. */
export async function forgetDesired(
  registry: Registry,
  corpus: string,
  version: string,
  reason: string,
): Promise<void> {
  for (const target of await registry.desiredTargets.list({ corpus }))
    if (target.version === version)
      await registry.desiredTargets.remove(
        { corpus, version, build: target.build },
        { actor: 'migration', reason },
      );
}
