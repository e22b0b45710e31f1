//! How what the core reads and writes by hand looks as JSON. This is for the
//! document of the API only ([`crate::api::openapi`]); nothing is parsed here.

use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A rule of access: methods × URL patterns × restrictions. It allows what any
/// of its methods does at any of its patterns.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `GET` grants `HEAD` too.
    pub method: Vec<Method>,
    /// Patterns such as `{mscp_api_url}/local/log/**`: segments that are
    /// literal, `{name}`, `{name:uuid}`, `{name:int}` or `*`, and a last `**`.
    #[schema(example = json!(["{mscp_api_url}/local/log/**"]))]
    pub url: Vec<String>,
    /// Restrictions, and what is carried unread.
    pub other: Option<Other>,
}

/// A method that a rule can grant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `GET`, and `HEAD`.
    Get,
    /// `HEAD` alone.
    Head,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `DELETE`.
    Delete,
    /// `PATCH`.
    Patch,
    /// `OPTIONS`.
    Options,
}

/// What goes with a rule. Other keys than `log` are carried and mean nothing.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Other {
    /// What of the log the rule shows.
    pub log: Option<Log>,
}

/// A restriction, or the right to change the store.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Kubernetes namespaces.
    pub namespace: Option<Vec<String>>,
    /// Application ids.
    pub appid: Option<Vec<Uuid>>,
    /// Hosts that the records come from.
    pub hostname: Option<Vec<String>>,
    /// Zones.
    pub zone: Option<Vec<String>>,
    /// Clusters.
    pub cluster: Option<Vec<String>>,
    /// Deployments, DaemonSets and their like.
    pub controler: Option<Vec<String>>,
    /// The field `type`.
    pub r#type: Option<Vec<String>>,
    /// The field `index`: an index's name without its date.
    pub index: Option<Vec<String>>,
    /// Whether the store may be changed through `{region}/log`. It holds only
    /// in a rule that restricts nothing.
    pub write: Option<bool>,
}

/// What of the log a request may see: `"all"`, or what any of these
/// restrictions lets through.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Visible {
    /// Everything.
    All(All),
    /// The union of these.
    Restricted(Vec<Log>),
}

/// No restriction.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum All {
    /// The one word.
    All,
}

/// A record as it is pushed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// When, in microseconds since the epoch; the spelling is the original's.
    #[schema(example = 1_516_792_419_231_221_i64)]
    pub timestemp: Option<i64>,
    /// The same, in the usual spelling. One of the two is required.
    pub timestamp: Option<i64>,
    /// The application that it is of; the one in the path, where that has one.
    pub appid: Uuid,
    /// What the sender calls this kind.
    #[schema(pattern = "^[A-Za-z0-9_.-]{1,64}$", example = "applog")]
    pub r#type: String,
    /// The line.
    pub message: String,
    /// What the sender adds. A repeated key keeps all its values.
    pub annotations: Option<Vec<Annotation>>,
}

/// One key with one value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Annotation {
    /// The key.
    pub key: String,
    /// The value.
    pub value: AnnotationValue,
}

/// A value of an annotation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum AnnotationValue {
    /// A string.
    String(String),
    /// A number.
    Number(f64),
    /// A boolean.
    Bool(bool),
}

/// A batch, or one record alone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Pushed {
    /// A batch.
    Batch(Vec<Record>),
    /// One record.
    One(Record),
}
