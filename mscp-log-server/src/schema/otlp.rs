//! OpenTelemetry's logs in the JSON mapping of protobuf, as OTLP changes it
//! (opentelemetry-proto 1.x, `collector/logs/v1`; OTLP specification, "JSON
//! Protobuf Encoding"). Members that are not here are ignored.

use serde::Deserialize;
use utoipa::ToSchema;

use super::limit;

/// `ExportLogsServiceRequest`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OtlpLogs)]
pub struct Logs {
    /// By what they are of.
    #[schema(nullable = false)]
    pub resource_logs: Option<Vec<ResourceLogs>>,
}

/// `ResourceLogs`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OtlpResourceLogs)]
pub struct ResourceLogs {
    /// What they are of.
    pub resource: Option<Resource>,
    /// By what wrote them.
    #[schema(nullable = false)]
    pub scope_logs: Option<Vec<ScopeLogs>>,
    /// Not looked at.
    #[schema(nullable = false)]
    pub schema_url: Option<String>,
}

/// `Resource`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OtlpResource)]
pub struct Resource {
    /// They become annotations.
    #[schema(nullable = false)]
    pub attributes: Option<Vec<KeyValue>>,
    /// Not looked at.
    #[schema(nullable = false)]
    pub dropped_attributes_count: Option<u32>,
    /// Not looked at.
    #[schema(nullable = false)]
    pub entity_refs: Option<Vec<EntityRef>>,
}

/// `EntityRef`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OtlpEntityRef)]
pub struct EntityRef {
    /// Not looked at.
    pub schema_url: String,
    /// Not looked at.
    pub r#type: String,
    /// Not looked at.
    pub id_keys: Vec<String>,
    /// Not looked at.
    pub description_keys: Vec<String>,
}

/// `ScopeLogs`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OtlpScopeLogs)]
pub struct ScopeLogs {
    /// What wrote them.
    pub scope: Option<Scope>,
    /// The records.
    #[schema(nullable = false)]
    pub log_records: Option<Vec<LogRecord>>,
    /// Not looked at.
    #[schema(nullable = false)]
    pub schema_url: Option<String>,
}

/// `InstrumentationScope`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OtlpScope)]
pub struct Scope {
    /// Becomes an annotation.
    #[schema(nullable = false)]
    pub name: Option<String>,
    /// Becomes an annotation.
    #[schema(nullable = false)]
    pub version: Option<String>,
    /// Not looked at.
    #[schema(nullable = false)]
    pub attributes: Option<Vec<KeyValue>>,
    /// Not looked at.
    #[schema(nullable = false)]
    pub dropped_attributes_count: Option<u32>,
}

/// `LogRecord`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OtlpLogRecord)]
pub struct LogRecord {
    /// When; 0 is not known.
    #[schema(nullable = false, value_type = Option<limit::OtlpNanoseconds>)]
    pub time_unix_nano: Option<u64>,
    /// When it was seen, for one whose time is not known.
    #[schema(nullable = false, value_type = Option<limit::OtlpNanoseconds>)]
    pub observed_time_unix_nano: Option<u64>,
    /// Becomes the annotation `level`.
    #[schema(nullable = false)]
    pub severity_number: Option<i32>,
    /// The same, in words.
    #[schema(nullable = false)]
    pub severity_text: Option<String>,
    /// The line.
    pub body: Option<AnyValue>,
    /// They become annotations.
    #[schema(nullable = false)]
    pub attributes: Option<Vec<KeyValue>>,
    /// Not looked at.
    #[schema(nullable = false)]
    pub dropped_attributes_count: Option<u32>,
    /// Not looked at.
    #[schema(nullable = false)]
    pub flags: Option<u32>,
    /// Becomes an annotation.
    #[schema(nullable = false, value_type = Option<limit::OtlpHexadecimal>)]
    pub trace_id: Option<String>,
    /// Becomes an annotation.
    #[schema(nullable = false, value_type = Option<limit::OtlpHexadecimal>)]
    pub span_id: Option<String>,
    /// Becomes an annotation.
    #[schema(nullable = false)]
    pub event_name: Option<String>,
}

/// `KeyValue`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OtlpKeyValue)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Option<AnyValue>,
}

/// `AnyValue`: one of these, or nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OtlpAnyValue)]
pub struct AnyValue {
    /// A string.
    pub string_value: Option<String>,
    /// A boolean.
    pub bool_value: Option<bool>,
    /// A whole number of 64 bits.
    #[schema(value_type = Option<limit::OtlpWhole>)]
    pub int_value: Option<i64>,
    /// A number.
    pub double_value: Option<f64>,
    /// Values.
    pub array_value: Option<Values>,
    /// Keys and values.
    pub kvlist_value: Option<Pairs>,
    /// Base64 (RFC 4648 section 4).
    #[schema(value_type = Option<limit::OtlpBase64>)]
    pub bytes_value: Option<String>,
}

/// `ArrayValue`
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OtlpArrayValue)]
pub struct Values {
    /// The values.
    #[schema(no_recursion)]
    pub values: Vec<AnyValue>,
}

/// `KeyValueList`
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OtlpKeyValueList)]
pub struct Pairs {
    /// The pairs.
    #[schema(no_recursion)]
    pub values: Vec<KeyValue>,
}

/// `ExportLogsServiceResponse`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = OtlpAnswer)]
pub struct Answer {
    /// What was not taken, where not all was.
    #[schema(nullable = false)]
    pub partial_success: Option<PartialSuccess>,
}

/// `ExportLogsPartialSuccess`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = OtlpPartialSuccess)]
pub struct PartialSuccess {
    /// How many records, as text.
    pub rejected_log_records: String,
    /// Why the first of them was.
    pub error_message: String,
}

/// `google.rpc.Status`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RpcStatus)]
pub struct Status {
    /// `google.rpc.Code`
    pub code: i32,
    /// What is at fault, and what was expected.
    pub message: String,
}
