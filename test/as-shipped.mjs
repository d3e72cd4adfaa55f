/**
 * Preloaded into every test process (.taprc). The runner puts its own loader into NODE_OPTIONS of every process that a
 * test starts: a second of CPU for a gateway, notes written into the checkout, and not what ships. This takes that out
 * again; the test process itself keeps it.
 */
const state = globalThis[Symbol.for('process-on-spawn@*:singletonId')];
if (!Array.isArray(state?.listeners) || state.listeners.length === 0)
  throw new Error('the test runner starts processes in another way than test/as-shipped.mjs knows');
state.listeners.length = 0;
