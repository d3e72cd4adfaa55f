import { type AdminApi, type OPERATIONS, operationNames, operationOf } from '../gateway/admin/api.js';
import { hasBody, type Operation, parametersOf, REVISION_FIELD } from '../gateway/admin/operation.js';
import type { GatewayClient } from './gateway-client.js';

type Fields = Readonly<Record<string, unknown>>;

/** The operations by way of a running gateway's admin HTTP API, as their one list (OPERATIONS) says. */
export function remoteAdmin(client: GatewayClient): AdminApi {
  const functions = operationNames.map((name) => [
    name,
    (input: Fields = {}): Promise<unknown> => send(client, operationOf(name), input),
  ]);
  // The types of OPERATIONS are what the gateway takes and answers; a test holds its answers against them.
  return Object.fromEntries(functions) as { [Name in keyof typeof OPERATIONS]: AdminApi[Name] };
}

async function send(client: GatewayClient, operation: Operation, input: Fields): Promise<unknown> {
  const { method, address, envelope } = operation;
  const inAddress = parametersOf(address);
  const path = address.replaceAll(/\{(\w+)\}/g, (_all, name: string) =>
    encodeURIComponent(String(input[name])),
  );
  const rest = Object.entries(input).filter(
    ([name, value]) => value !== undefined && name !== REVISION_FIELD && !inAddress.includes(name),
  );
  const query = new URLSearchParams(rest.map(([name, value]): [string, string] => [name, String(value)]));
  const answer = hasBody(operation)
    ? await client.request(method, path, Object.fromEntries(rest), precondition(input[REVISION_FIELD]))
    : await client.request(method, rest.length === 0 ? path : `${path}?${query}`);
  return envelope === undefined ? answer : (answer as Fields)[envelope];
}

function precondition(revision: unknown): Readonly<Record<string, string>> {
  if (revision === undefined) return {};
  return revision === 0 ? { 'if-none-match': '*' } : { 'if-match': `"${revision}"` };
}
