import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tracing } from '@opentelemetry/sdk-node';
import { pino } from 'pino';
import { Requests } from '../src/gateway/requests.js';
import { openOtlp } from '../src/telemetry/otlp.js';
import { TRACE_PARENT, Tracer } from '../src/telemetry/tracer.js';

type Call = () => unknown;

export interface TracingPieces {
  readonly pieces: readonly (readonly [piece: string, call: Call])[];
  close(): Promise<void>;
}

const UNSAMPLED_PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00';
/** Parts of a search that was not remembered: pick, cache, encode, search. */
const PARTS = ['pick', 'cache', 'encode', 'search'] as const;

const headerOf = (headers: Readonly<Record<string, string>>, name: string): unknown => headers[name];

/**
 * What a request of the gateway costs in bookkeeping, with its metrics and log taken out, by what tracing does with it.
 * Spans go to the SDK as in the gateway; their sending, off the path of any request, is not in the figure.
 */
export async function tracingPieces(): Promise<TracingPieces> {
  const collector = createServer((request, response) => {
    request.resume();
    response.setHeader('content-type', 'application/json').end('{}');
  }).listen(0, '127.0.0.1');
  await once(collector, 'listening');
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  process.env.OTEL_EXPORTER_OTLP_PROTOCOL = 'http/json';
  const log = pino({ level: 'silent' });
  const sink = openOtlp(log, { version: 'bench', instance: 'bench' });
  const tracer = (sampleBps: number): Tracer =>
    new Tracer({
      sampleBps,
      tracesPerSMax: Number.POSITIVE_INFINITY,
      sink,
      nowMs: () => performance.now(),
      random: Math.random,
    });
  const bookkeeping = (made: Tracer | null, headers: Readonly<Record<string, string>>): Call => {
    const requests = new Requests({
      log,
      metrics: { requestFinished: () => undefined, batchItems: () => undefined },
      tracer: made,
      slowRequestMs: 1_000,
    });
    return () => {
      const scope = requests.begin('grpc', 'search', 'the id of a request', null, headers, headerOf);
      scope.arrivedAtMs = performance.now();
      const { trace, arrivedAtMs } = scope;
      if (trace !== null)
        for (const part of PARTS)
          trace.record(part, arrivedAtMs, arrivedAtMs + 1, { corpus: 'docs', lane: 'live' });
      requests.finish(scope, 'OK');
      return scope;
    };
  };
  const unsampled = new tracing.BasicTracerProvider({ sampler: new tracing.AlwaysOffSampler() }).getTracer(
    'bench',
  );
  return {
    pieces: [
      ['bookkeeping of a request, tracing off', bookkeeping(null, {})],
      ['tracing on, not sampled', bookkeeping(tracer(0), {})],
      ['tracing on, its client says not to', bookkeeping(tracer(0), { [TRACE_PARENT]: UNSAMPLED_PARENT })],
      ['tracing on, sampled: a span and its four parts', bookkeeping(tracer(10_000), {})],
      [
        'tried: one unsampled span of the SDK, beside the bookkeeping',
        () => {
          const span = unsampled.startSpan('search');
          span.end();
          return span;
        },
      ],
    ],
    close: async () => {
      await sink.close();
      collector.closeAllConnections();
      collector.close();
      await once(collector, 'close');
    },
  };
}
