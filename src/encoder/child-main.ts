import { openBatcher } from './batching-plan.js';
import { runBeside } from './child-beside.js';
import { serveParent } from './child-front.js';
import { BESIDE } from './child-protocol.js';
import { startSession } from './child-start.js';

/**
 * An encoder process: `node child-main.js`, started by `startProcessEncoder` alone, spoken to on descriptor 3.
 * It ends when its parent does. With the argument `beside` what is not a run of the model is another thread's.
 */
if (process.argv[2] === BESIDE) runBeside();
else
  serveParent(async (config) => {
    const { session, measured, ...ready } = await startSession(config);
    return { session, ready, batcher: openBatcher(measured, config, session.manifest.max_tokens) };
  });
