import { type handleUnaryCall, Server, ServerCredentials } from '@grpc/grpc-js';

export interface NoopServer {
  readonly port: number;
  /** What every call is answered with from now on. */
  answerWith(bytes: Buffer): void;
  close(): void;
}

const asIs = (bytes: Buffer): Buffer => bytes;

/** The least that a grpc-js server can do: bytes in, the same bytes out to everybody. */
export async function startNoopServer(): Promise<NoopServer> {
  let answer: Buffer = Buffer.alloc(0);
  const search: handleUnaryCall<Buffer, Buffer> = (_call, callback) => callback(null, answer);
  const server = new Server({ 'grpc.max_concurrent_streams': 1024, 'grpc.enable_channelz': 0 });
  server.addService(
    {
      Search: {
        path: '/switchyard.v1.SearchService/Search',
        requestStream: false,
        responseStream: false,
        requestSerialize: asIs,
        requestDeserialize: asIs,
        responseSerialize: asIs,
        responseDeserialize: asIs,
      },
    },
    { Search: search },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return {
    port,
    answerWith: (bytes) => {
      answer = bytes;
    },
    close: () => server.forceShutdown(),
  };
}
