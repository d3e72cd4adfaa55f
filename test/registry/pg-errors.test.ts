import { inspect } from 'node:util';
import { NoResultError, type QueryNode } from 'kysely';
import t from 'tap';
import { fromPgError, newsOf } from '../../src/registry/pg-errors.js';

t.test('a row that is not there is no outage, and what was asked for stays untold', async (t) => {
  const node = { kind: 'SelectQueryNode', where: { value: 'hunter2' } } as unknown as QueryNode;
  const thrown = new NoResultError(node);
  t.equal(newsOf(thrown), 'answer');
  const error = fromPgError(thrown, 'server:5432/db');
  t.equal(error.reason, 'INTERNAL');
  t.notMatch(inspect(error, { depth: 10 }), /hunter2/);
});

t.test('a connection that is lost is an outage', async (t) => {
  const lost = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  t.equal(newsOf(lost), 'outage');
  t.equal(fromPgError(lost, 'server:5432/db').reason, 'REGISTRY_UNAVAILABLE');
});
