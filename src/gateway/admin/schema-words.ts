import { type Static, type TSchema, Type } from '@sinclair/typebox';

/** No other fields: what is not understood was meant otherwise (invariant 6). */
export const closed = { additionalProperties: false } as const;

export const oneOf = <Word extends string>(words: readonly Word[], description?: string) =>
  Type.Union(
    words.map((word) => Type.Literal(word)),
    description === undefined ? {} : { description },
  );

export const text = (description: string) => Type.String({ description });
/** ISO 8601. */
export const time = (description: string) => Type.String({ format: 'date-time', description });
export const count = (description: string) => Type.Integer({ minimum: 0, description });
export const orNull = <Schema extends TSchema>(schema: Schema) => Type.Union([schema, Type.Null()]);

type Frozen<T> = T extends readonly (infer Item)[]
  ? readonly Frozen<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: Frozen<T[Key]> }
    : T;

/** The value that a schema describes, never to be changed. */
export type Plain<Schema extends TSchema> = Frozen<Static<Schema>>;
