// Three records over OTLP; see ../README.md.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	otellog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

func main() {
	log.SetFlags(0)
	protocol, endpoint, app, token := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	ctx := context.Background()
	bearer := "Bearer " + token
	var exporter sdklog.Exporter
	var err error
	if protocol == "grpc" {
		exporter, err = otlploggrpc.New(ctx, otlploggrpc.WithEndpointURL(endpoint), otlploggrpc.WithInsecure(),
			otlploggrpc.WithHeaders(map[string]string{"authorization": bearer, "appid": app}), otlploggrpc.WithCompressor("gzip"))
	} else {
		exporter, err = otlploghttp.New(ctx, otlploghttp.WithEndpointURL(endpoint),
			otlploghttp.WithHeaders(map[string]string{"Authorization": bearer}), otlploghttp.WithCompression(otlploghttp.GzipCompression))
	}
	check(err)
	provider := sdklog.NewLoggerProvider(
		sdklog.WithResource(resource.NewSchemaless(attribute.String("service.name", "shop"), attribute.String("host.name", "node1"))),
		sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)))
	logger := provider.Logger("shop.orders")

	emit := func(ctx context.Context, severity otellog.Severity, body string, attributes ...attribute.KeyValue) {
		var record otellog.Record
		record.SetSeverity(severity)
		record.SetSeverityText(severity.String())
		record.SetBody(attribute.StringValue(body))
		record.AddAttributes(attributes...)
		logger.Emit(ctx, record)
	}
	emit(ctx, otellog.SeverityInfo, "first of go",
		attribute.Int("shop.order", 17), attribute.Bool("shop.paid", true), attribute.Float64("shop.price", 1.5),
		attribute.StringSlice("shop.names", []string{"a", "b"}))
	emit(ctx, otellog.SeverityWarn, "second of go")
	inside, span := trace.NewTracerProvider().Tracer("shop").Start(ctx, "order")
	emit(inside, otellog.SeverityError, "third of go")
	check(provider.Shutdown(ctx))
	made := span.SpanContext()
	check(json.NewEncoder(os.Stdout).Encode(map[string]string{"trace_id": made.TraceID().String(), "span_id": made.SpanID().String()}))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
