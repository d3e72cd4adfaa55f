import { SwitchyardError } from '../../errors.js';

export const indexClosed = (): SwitchyardError =>
  new SwitchyardError('INDEX_UNAVAILABLE', 'the index is closed: the route has another target by now');

export const deadlineExceeded = (): SwitchyardError =>
  new SwitchyardError('DEADLINE_EXCEEDED', 'the deadline passed before the index process answered');

export const pipeFull = (bufferedBytesMax: number): SwitchyardError =>
  new SwitchyardError(
    'QUEUE_FULL',
    `${bufferedBytesMax} bytes of searches wait for an index process that does not read; try again later`,
    { details: { bound: 'bufferedBytesMax', limit: String(bufferedBytesMax) } },
  );
