import { Kind, type TSchema } from '@sinclair/typebox';
import { REASONS, type Reason, SwitchyardError } from '../../errors.js';
import { PROBLEM_TYPE, problem } from './problem.js';
import { schemaIdentity } from './schemas.js';

/** Schemas that others refer to by name. */
export interface NamedSchemas {
  readonly components: Readonly<Record<string, unknown>>;
  /** Any schema, with references where it has a named one. */
  show(schema: TSchema): unknown;
}

export function namedSchemas(schemas: Readonly<Record<string, TSchema>>): NamedSchemas {
  const names = new Map<unknown, string>(
    Object.entries(schemas).map(([name, schema]) => [schemaIdentity(schema), name]),
  );
  return {
    components: Object.fromEntries(
      Object.entries(schemas).map(([name, schema]) => [name, withReferences(schema, names, true)]),
    ),
    show: (schema) => withReferences(schema, names, false),
  };
}

/** One response per status, naming its reasons with an example each. */
export function problemResponses(reasons: readonly Reason[]): Record<string, unknown> {
  const byStatus = new Map<number, Reason[]>();
  for (const reason of reasons) {
    const status = REASONS[reason].http;
    byStatus.set(status, [...(byStatus.get(status) ?? []), reason]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, group]) => [
      status,
      {
        description: group.map((reason) => `${reason}: ${REASONS[reason].title}.`).join('\n'),
        content: {
          [PROBLEM_TYPE]: {
            schema: reference('Problem'),
            examples: Object.fromEntries(group.map((reason) => [reason, { value: exampleProblem(reason) }])),
          },
        },
      },
    ]),
  );
}

const exampleProblem = (reason: Reason) =>
  problem(new SwitchyardError(reason, REASONS[reason].title), '4f2a61c09b7e-1');

export const reference = (name: string) => ({ $ref: `#/components/schemas/${name}` });

/** A copy of a schema in which every other named schema is a reference. */
function withReferences(node: unknown, names: ReadonlyMap<unknown, string>, isRoot: boolean): unknown {
  if (typeof node !== 'object' || node === null) return node;
  const name = isRoot || !(Kind in node) ? undefined : names.get(schemaIdentity(node));
  if (name !== undefined) return reference(name);
  if (Array.isArray(node)) return node.map((part) => withReferences(part, names, false));
  return Object.fromEntries(
    Object.entries(node).map(([key, part]) => [key, withReferences(part, names, false)]),
  );
}
