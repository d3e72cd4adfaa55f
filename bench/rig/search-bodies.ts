import protobuf from 'protobufjs';

export const SEARCH_METHOD = '/switchyard.v1.SearchService/Search';

export interface SearchBody {
  readonly corpus: string;
  readonly query: { readonly vector: Float32Array; readonly model: string } | { readonly text: string };
  readonly topK: number;
}

/** A SearchRequest of the public contract; vectors go as `bytes f32le`. */
export function searchBody({ corpus, query, topK }: SearchBody): Uint8Array {
  const writer = protobuf.Writer.create().uint32(10).string(corpus);
  if ('text' in query) writer.uint32(18).string(query.text);
  else {
    const { buffer, byteOffset, byteLength } = query.vector;
    writer
      .uint32(26)
      .fork()
      .uint32(18)
      .bytes(new Uint8Array(buffer, byteOffset, byteLength))
      .ldelim();
  }
  writer.uint32(32).uint32(topK);
  if ('vector' in query) writer.uint32(42).string(query.model);
  return writer.finish();
}
