import path from 'node:path';
import { Client, credentials } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { packageRoot } from '../../src/package-root.js';
import { LoadGenerator, withoutFailures } from '../load/load-generator.js';
import type { LoadResult } from '../load/load-protocol.js';
import { treeCpuUs } from '../load/process-cpu.js';
import { CORPUS, MODEL_REF } from './seeded-encoder.js';
import { ServerProcess } from './server-process.js';

const METHOD = '/switchyard.v1.SearchService/Search';

export interface HitsPlan {
  readonly seed: number;
  readonly rowCount: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly inFlight: number;
}

export interface Side {
  readonly cpuUs: number[];
  readonly perSecond: number[];
}

export interface HitsFigures {
  readonly answerBytes: number;
  /** Answers that came from the cache in what was measured: all of them, or this throws. */
  readonly hits: number;
  readonly gateway: Side;
  readonly noop: Side;
}

const root = new protobuf.Root();
root.loadSync(path.join(packageRoot(), 'proto', 'switchyard', 'v1', 'search.proto'), { keepCase: true });
const SearchRequest = root.lookupType('switchyard.v1.SearchRequest');

export const textBodies = (texts: readonly string[]): Uint8Array[] =>
  texts.map((text) => SearchRequest.encode({ corpus: CORPUS, text, top_k: 10 }).finish());

export const vectorBodies = (vectors: readonly Float32Array[]): Uint8Array[] =>
  vectors.map(({ buffer, byteOffset, byteLength }) =>
    SearchRequest.encode({
      corpus: CORPUS,
      vector: { f32le: new Uint8Array(buffer, byteOffset, byteLength) },
      model: MODEL_REF,
      top_k: 10,
    }).finish(),
  );

/** Remembered answers of a gateway beside a grpc-js server that does nothing, in turn, from the same generator. */
export async function measureHits(bodies: readonly Uint8Array[], plan: HitsPlan): Promise<HitsFigures> {
  const { seed, rowCount, rounds, seconds, inFlight } = plan;
  const open: { close(): Promise<void> }[] = [];
  try {
    const start = async (kind: 'gateway' | 'noop') => {
      const server = await ServerProcess.start({ kind, seed, rowCount });
      open.push(server);
      const target = { host: '127.0.0.1', port: server.port, method: METHOD, connections: 2 };
      const load = await LoadGenerator.start(target, { bodies, expected: null });
      open.push(load);
      return { server, load };
    };
    const [gateway, noop] = [await start('gateway'), await start('noop')];
    const answer = await firstAnswer(gateway.server.port, bodies[0] as Uint8Array);
    await noop.server.answerWith(answer);
    // Every question once, so that from here on all are remembered, and both sides are warm.
    await untilAllAsked(gateway, bodies.length, inFlight);
    const run = { kind: 'closed', seconds, inFlight, from: 0 } as const;
    for (const { load } of [gateway, noop]) withoutFailures(await load.run(run));

    const before = await gateway.server.counts();
    const figures = { gateway: newSide(), noop: newSide() };
    let answered = 0;
    for (let round = 0; round < rounds; round++) {
      const turns = [
        async () => {
          answered += await measure(gateway, figures.gateway, run);
        },
        () => measure(noop, figures.noop, run),
      ];
      for (const turn of round % 2 === 0 ? turns : turns.reverse()) await turn();
    }
    const after = await gateway.server.counts();
    if (after.hits - before.hits !== answered || after.misses !== before.misses)
      throw new Error(`of ${answered} answers ${after.hits - before.hits} were remembered ones`);
    return { answerBytes: answer.length, hits: answered, ...figures };
  } finally {
    for (const one of open.reverse()) await one.close();
  }
}

interface Measured {
  readonly server: ServerProcess;
  readonly load: LoadGenerator;
}

const newSide = (): Side => ({ cpuUs: [], perSecond: [] });

async function measure(
  { server, load }: Measured,
  side: Side,
  run: Parameters<LoadGenerator['run']>[0],
): Promise<number> {
  const beforeUs = treeCpuUs(server.pid);
  const result = withoutFailures(await load.run(run));
  side.cpuUs.push((treeCpuUs(server.pid) - beforeUs) / result.answered);
  side.perSecond.push(result.perSecond);
  return result.answered;
}

async function untilAllAsked({ load }: Measured, count: number, inFlight: number): Promise<void> {
  for (let from = 0; from < count; ) {
    const result: LoadResult = withoutFailures(
      await load.run({ kind: 'closed', seconds: 0.5, inFlight, from }),
    );
    from += result.answered;
  }
}

function firstAnswer(port: number, body: Uint8Array): Promise<Buffer> {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const asIs = (bytes: Buffer): Buffer => bytes;
  return new Promise<Buffer>((resolve, reject) => {
    client.makeUnaryRequest(METHOD, asIs, asIs, Buffer.from(body), (error, bytes) => {
      if (error !== null || bytes === undefined) reject(error ?? new Error('no answer'));
      else resolve(bytes);
    });
  }).finally(() => client.close());
}
