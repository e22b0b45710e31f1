"""Three records over OTLP; see ../README.md."""

import json
import logging
import sys

from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

protocol, endpoint, app, token = sys.argv[1:]
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    headers = (("authorization", f"Bearer {token}"), ("appid", app))
    exporter = OTLPLogExporter(endpoint=endpoint, insecure=True, headers=headers)
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    exporter = OTLPLogExporter(endpoint=endpoint, headers={"Authorization": f"Bearer {token}"}, compression=Compression.Gzip)

logs = LoggerProvider(resource=Resource.create({"service.name": "shop", "host.name": "node1"}))
logs.add_log_record_processor(BatchLogRecordProcessor(exporter))
logger = logging.getLogger("shop.orders")
logger.setLevel(logging.INFO)
logger.addHandler(LoggingHandler(logger_provider=logs))

logger.info("first of python", extra={"shop.order": 17, "shop.paid": True, "shop.price": 1.5, "shop.names": ["a", "b"]})
logger.warning("second of python")
with TracerProvider().get_tracer("shop").start_as_current_span("order") as span:
    logger.error("third of python")
    context = span.get_span_context()
logs.shutdown()
print(json.dumps({"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}))
