import { type ChangeAuthor, recordChange } from './changes.js';
import type { RegistryTransaction } from './database.js';
import type { RouteTarget } from './route.js';

/** A model that serves is no longer in staging: its status follows in the transaction that gives it weight, audited. */
export async function activateServing(
  transaction: RegistryTransaction,
  targets: readonly RouteTarget[],
  author: ChangeAuthor,
): Promise<void> {
  const serving = new Set(
    targets.filter(({ weightBps }) => weightBps > 0).map(({ fingerprint }) => fingerprint),
  );
  if (serving.size === 0) return;
  const activated = await transaction
    .updateTable('embedding_models')
    .set({ status: 'active' })
    .where('fingerprint', 'in', [...serving].sort())
    .where('status', '=', 'staging')
    .returning(['model_name', 'model_version'])
    .execute();
  for (const { model_name, model_version } of activated)
    await recordChange(transaction, {
      actor: author.actor,
      reason: author.reason,
      subject: `model ${model_name}@${model_version}`,
      before: { status: 'staging' },
      after: { status: 'active' },
    });
}
