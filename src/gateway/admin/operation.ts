import { Kind, type TObject, type TProperties, type TSchema, Type } from '@sinclair/typebox';
import type { Reason } from '../../errors.js';
import type { Access } from '../auth/access.js';
import type { Plain } from './schema-words.js';

/**
 * One thing an operator can do, as every face needs it: the HTTP listener and the client of it, OpenAPI, gRPC (whose
 * method has the same name), and the types of the one implementation.
 */
export interface Operation<Input extends TObject = TObject, Output extends TSchema | null = TSchema | null> {
  readonly method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';
  /** Parameters are fields of the input: `/v1/routes/{corpus}:rollback`. */
  readonly address: string;
  /** The same operation, for a reader who begins elsewhere. */
  readonly alsoAt?: string;
  readonly summary: string;
  readonly input: Input;
  /** Null: nothing, status 204. */
  readonly output: Output;
  /** Over the wire a list is a field of this name, so that others can join it. */
  readonly envelope?: string;
  /** What it is refused for, beside what every operation is. */
  readonly reasons: readonly Reason[];
  /** What it needs; absent: an operator's key. Over gRPC a service of such operations has it (`accessOfMethod`). */
  readonly access?: Extract<Access, 'administer'>;
}

export const operation = <Input extends TObject, Output extends TSchema | null>(
  given: Operation<Input, Output>,
): Operation<Input, Output> => given;

export type InputOf<Given> = Given extends Operation<infer Input, TSchema | null> ? Plain<Input> : never;
export type OutputOf<Given> =
  Given extends Operation<TObject, infer Output>
    ? Output extends TSchema
      ? Plain<Output>
      : undefined
    : never;

/** Travels in If-Match and If-None-Match, as the revision does in ETag. */
export const REVISION_FIELD = 'expected_revision';
/** Who; over HTTP a header may say it instead, over gRPC metadata. */
export const ACTOR_FIELD = 'actor';

export const isRevised = ({ input }: Operation): boolean => Object.hasOwn(input.properties, REVISION_FIELD);

export const parametersOf = (address: string): readonly string[] =>
  [...address.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? '');

/** The fields that are neither in the address nor in If-Match; those of GET and DELETE are query parameters. */
export function restOf({ input }: Operation, address: string): TObject {
  const elsewhere = new Set([...parametersOf(address), REVISION_FIELD]);
  const required = new Set(input.required ?? []);
  const fields = Object.entries(input.properties as TProperties).filter(([name]) => !elsewhere.has(name));
  return Type.Object(
    Object.fromEntries(
      fields.map(([name, schema]) => [
        name,
        required.has(name) && name !== ACTOR_FIELD ? schema : Type.Optional(schema),
      ]),
    ),
    { additionalProperties: false },
  );
}

export const hasBody = ({ method }: Operation): boolean => method !== 'GET' && method !== 'DELETE';
export const isWhole = (schema: TSchema | undefined): boolean => schema?.[Kind] === 'Integer';
