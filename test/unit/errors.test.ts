import t from 'tap';
import {
  errorFromFrame,
  errorToFrame,
  REASONS,
  SwitchyardError,
  toSwitchyardError,
} from '../../src/errors.js';

t.test('an unknown failure becomes INTERNAL and keeps its text off the wire', async (t) => {
  const error = toSwitchyardError(new Error('the secret query text'));
  t.equal(error.reason, 'INTERNAL');
  t.notMatch(JSON.stringify(errorToFrame(error)), /secret/);
});

t.test('an error survives a process border with its reason, message and details', async (t) => {
  const error = new SwitchyardError('INVALID_ARGUMENT', 'top_k 5000 must be <= 1000', {
    details: { field: 'top_k' },
  });
  const back = errorFromFrame(errorToFrame(error));
  t.match(back, { reason: 'INVALID_ARGUMENT', message: error.message, details: { field: 'top_k' } });
});

t.test('a reason that the catalogue does not have is read as INTERNAL', async (t) => {
  const frame = { reason: 'constructor', message: 'x', details: {} } as unknown as Parameters<
    typeof errorFromFrame
  >[0];
  t.equal(errorFromFrame(frame).reason, 'INTERNAL');
});

t.test('every reason has an HTTP status of an error', async (t) => {
  for (const [reason, entry] of Object.entries(REASONS)) t.ok(entry.http >= 400 && entry.http < 600, reason);
});
