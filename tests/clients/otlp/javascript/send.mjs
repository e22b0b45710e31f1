// Three records over OTLP; see ../README.md.
import { createRequire } from 'node:module';
import process from 'node:process';

const require = createRequire(`${process.env.CLIENTS}/`);
const { context, trace } = require('@opentelemetry/api');
const { SeverityNumber } = require('@opentelemetry/api-logs');
const { AsyncLocalStorageContextManager } = require('@opentelemetry/context-async-hooks');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BatchLogRecordProcessor, LoggerProvider } = require('@opentelemetry/sdk-logs');
const { BasicTracerProvider } = require('@opentelemetry/sdk-trace-base');

const [protocol, url, app, token] = process.argv.slice(2);
const authorization = `Bearer ${token}`;

function exporter() {
  if (protocol === 'grpc') {
    const { Metadata, credentials } = require('@grpc/grpc-js');
    const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-grpc');
    const metadata = new Metadata();
    metadata.set('authorization', authorization);
    metadata.set('appid', app);
    return new OTLPLogExporter({ url, metadata, credentials: credentials.createInsecure() });
  }
  const name = protocol === 'http/json' ? 'http' : 'proto';
  const { OTLPLogExporter } = require(`@opentelemetry/exporter-logs-otlp-${name}`);
  return new OTLPLogExporter({ url, headers: { authorization }, compression: 'gzip' });
}

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
const logs = new LoggerProvider({
  resource: resourceFromAttributes({ 'service.name': 'shop', 'host.name': 'node1' }),
  processors: [new BatchLogRecordProcessor({ exporter: exporter() })],
});
const logger = logs.getLogger('shop.orders');

logger.emit({
  severityNumber: SeverityNumber.INFO,
  severityText: 'INFO',
  body: 'first of javascript',
  attributes: { 'shop.order': 17, 'shop.paid': true, 'shop.price': 1.5, 'shop.names': ['a', 'b'] },
});
logger.emit({ severityNumber: SeverityNumber.WARN, severityText: 'WARN', body: 'second of javascript' });
const span = new BasicTracerProvider().getTracer('shop').startSpan('order');
context.with(trace.setSpan(context.active(), span), () => {
  logger.emit({ severityNumber: SeverityNumber.ERROR, severityText: 'ERROR', body: 'third of javascript' });
});
await logs.shutdown();
const { traceId, spanId } = span.spanContext();
console.log(JSON.stringify({ trace_id: traceId, span_id: spanId }));
