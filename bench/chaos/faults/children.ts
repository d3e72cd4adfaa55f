import { type Fault, TEXTS_REFUSED, UNNOTICED } from '../fault.js';
import { PROCESSES } from '../rig.js';
import { encoderRestarts, heldUp, lateMirrors, shadowRestarts, shadowUsed } from '../signs.js';

/** More than a busy machine holds up without a fault. */
const MANY = 5;

/** Faults of the processes below the gateway. */
export const CHILD_FAULTS: readonly Fault[] = [
  {
    name: 'an encoder killed',
    inject: ({ gateway }) => gateway.signal(PROCESSES.encoder, 'SIGKILL', 1),
    met: encoderRestarts,
    expected: TEXTS_REFUSED,
  },
  {
    name: 'all encoders killed',
    inject: ({ gateway }) => gateway.signal(PROCESSES.encoder, 'SIGKILL'),
    met: encoderRestarts,
    metBy: 2,
    expected: TEXTS_REFUSED,
  },
  {
    name: 'an encoder stopped (SIGSTOP)',
    inject: ({ gateway }) => gateway.signal(PROCESSES.encoder, 'SIGSTOP', 1),
    met: heldUp,
    metBy: MANY,
    heal: ({ gateway }) => gateway.signal(PROCESSES.encoder, 'SIGCONT'),
    expected: TEXTS_REFUSED,
  },
  {
    name: 'the process of a shadow index killed',
    inject: ({ gateway }) => gateway.signal(PROCESSES.shadow, 'SIGKILL'),
    met: shadowRestarts,
    expected: UNNOTICED,
  },
  {
    name: 'the process of a shadow index stopped (SIGSTOP)',
    ready: shadowUsed,
    inject: ({ gateway }) => gateway.signal(PROCESSES.shadow, 'SIGSTOP'),
    met: lateMirrors,
    metBy: MANY,
    heal: ({ gateway }) => {
      if (gateway.pids(PROCESSES.shadow).length > 0) gateway.signal(PROCESSES.shadow, 'SIGCONT');
    },
    expected: UNNOTICED,
  },
];
