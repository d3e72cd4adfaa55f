import {
  type Attributes,
  type Context,
  type ContextManager,
  DiagLogLevel,
  diag,
  type Link,
  ROOT_CONTEXT,
  type Span as SdkSpan,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { core, NodeSDK, resources, tracing } from '@opentelemetry/sdk-node';
import type { Logger } from './log.js';
import type {
  OpenSpan,
  RemoteParent,
  RequestSpan,
  SpanAttributes,
  SpanEnd,
  SpanLink,
  SpanName,
  SpanSink,
} from './trace.js';

/**
 * Spans through the OpenTelemetry SDK to an OTLP collector. The standard OTEL_* variables say where and how:
 * OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL, _HEADERS, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*.
 * This file is loaded where tracing is on and nowhere else.
 */
export function openOtlp(
  log: Logger,
  service: { readonly version: string; readonly instance: string },
): SpanSink {
  diag.setLogger(
    {
      error: (message) => log.warn({ said: message.slice(0, 500) }, 'traces cannot be sent'),
      warn: (message) => log.warn({ said: message.slice(0, 500) }, 'tracing warns'),
      info: ignore,
      debug: ignore,
      verbose: ignore,
    },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
  const sdk = new NodeSDK({
    serviceName: process.env.OTEL_SERVICE_NAME || 'switchyard',
    resource: resources.resourceFromAttributes({
      'service.version': service.version,
      'service.instance.id': service.instance,
    }),
    // The process detector would send the command line.
    resourceDetectors: [resources.envDetector, resources.hostDetector],
    sampler: new tracing.AlwaysOnSampler(),
    contextManager: NO_CONTEXT,
    textMapPropagator: null,
    instrumentations: [],
    metricReaders: [],
    logRecordProcessors: [],
  });
  sdk.start();
  const tracer = trace.getTracer('switchyard', service.version);
  return {
    request: (name, startMs, parent) =>
      new Recorded(
        tracer,
        tracer.startSpan(
          name,
          { kind: SpanKind.SERVER, startTime: wallMs(startMs) },
          parent === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, remoteContext(parent)),
        ),
      ),
    close: () => sdk.shutdown().catch((error: unknown) => log.warn({ err: error }, 'traces were lost')),
  };
}

/** Spans are handed on by hand; the SDK's own manager would slow every promise of the process (async hooks). */
const NO_CONTEXT: ContextManager = {
  active: () => ROOT_CONTEXT,
  with: (_context, work, self, ...args) => work.call(self as never, ...args),
  bind: (_context, target) => target,
  enable: () => NO_CONTEXT,
  disable: () => NO_CONTEXT,
};

class Recorded implements RequestSpan {
  readonly #tracer: Tracer;
  readonly #span: SdkSpan;
  readonly #context: Context;

  constructor(tracer: Tracer, span: SdkSpan) {
    this.#tracer = tracer;
    this.#span = span;
    this.#context = trace.setSpan(ROOT_CONTEXT, span);
  }

  get traceId(): string {
    return this.#span.spanContext().traceId;
  }

  get traceResponse(): string {
    const { traceId, spanId } = this.#span.spanContext();
    return `00-${traceId}-${spanId}-01`;
  }

  record(
    name: SpanName,
    startMs: number,
    endMs: number,
    attributes: SpanAttributes,
    { failed, links = [] }: SpanEnd = {},
  ): void {
    const span = this.#tracer.startSpan(
      name,
      { startTime: wallMs(startMs), attributes: named(attributes), links: links.map(linkTo) },
      this.#context,
    );
    finish(span, endMs, failed);
  }

  open(name: SpanName, startMs: number): OpenSpan {
    return new Recorded(
      this.#tracer,
      this.#tracer.startSpan(name, { startTime: wallMs(startMs) }, this.#context),
    );
  }

  shared(name: SpanName, startMs: number, endMs: number, attributes: SpanAttributes): SpanLink {
    const span = this.#tracer.startSpan(
      name,
      { root: true, startTime: wallMs(startMs), attributes: named(attributes) },
      ROOT_CONTEXT,
    );
    finish(span, endMs, undefined);
    return span.spanContext();
  }

  end(endMs: number, attributes: SpanAttributes, failed?: string): void {
    this.#span.setAttributes(named(attributes));
    finish(this.#span, endMs, failed);
  }
}

function finish(span: SdkSpan, endMs: number, failed: string | undefined): void {
  if (failed !== undefined) {
    span.setStatus({ code: SpanStatusCode.ERROR, message: failed });
    span.setAttribute('error.type', failed);
  }
  span.end(wallMs(endMs));
}

/** Names of our own get a prefix; those of the conventions have a dot. */
const named = (attributes: SpanAttributes): Attributes =>
  Object.fromEntries(
    Object.entries(attributes).map(([name, value]) => [
      name.includes('.') ? name : `switchyard.${name}`,
      value,
    ]),
  );

const linkTo = ({ traceId, spanId }: SpanLink): Link => ({
  context: { traceId, spanId, traceFlags: TraceFlags.SAMPLED },
});

const remoteContext = ({ traceId, spanId, state }: RemoteParent) => ({
  traceId,
  spanId,
  traceFlags: TraceFlags.SAMPLED,
  isRemote: true,
  ...(state === '' ? {} : { traceState: new core.TraceState(state) }),
});

const wallMs = (atMs: number): number => performance.timeOrigin + atMs;

function ignore(): void {
  // Of no interest.
}
