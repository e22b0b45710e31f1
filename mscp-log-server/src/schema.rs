//! How what is read and written by hand looks as JSON, and what limits a text
//! or a number has. This is for the document of the API only
//! ([`crate::api::openapi`]); nothing is parsed here.

pub mod limit;
pub mod otlp;

use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A rule of access: methods × URL patterns × restrictions. It allows what any
/// of its methods does at any of its patterns.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `GET` grants `HEAD` too.
    #[schema(min_items = 1)]
    pub method: Vec<Method>,
    /// What it is good for.
    #[schema(min_items = 1, value_type = Vec<limit::UrlPattern>, example = json!(["{mscp_api_url}/local/log/**"]))]
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
    #[schema(nullable = false)]
    pub log: Option<Log>,
}

/// A restriction, or the right to change the store. A list has at least one
/// value, as nothing could hold an empty one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Kubernetes namespaces.
    #[schema(nullable = false, min_items = 1)]
    pub namespace: Option<Vec<String>>,
    /// Application ids, which are UUIDs.
    #[schema(nullable = false, min_items = 1)]
    pub appid: Option<Vec<String>>,
    /// Hosts that the records come from.
    #[schema(nullable = false, min_items = 1)]
    pub hostname: Option<Vec<String>>,
    /// Zones.
    #[schema(nullable = false, min_items = 1)]
    pub zone: Option<Vec<String>>,
    /// Clusters.
    #[schema(nullable = false, min_items = 1)]
    pub cluster: Option<Vec<String>>,
    /// Deployments, DaemonSets and their like.
    #[schema(nullable = false, min_items = 1)]
    pub controler: Option<Vec<String>>,
    /// The field `type`.
    #[schema(nullable = false, min_items = 1)]
    pub r#type: Option<Vec<String>>,
    /// The field `index`: an index's name without its date.
    #[schema(nullable = false, min_items = 1)]
    pub index: Option<Vec<String>>,
    /// Whether the store may be changed through `{region}/log`. It holds only
    /// in a rule that restricts nothing.
    #[schema(nullable = false)]
    pub write: Option<bool>,
}

/// A rule as a token has it. One of the wider platform may say more, which
/// means nothing here.
#[derive(Debug, Deserialize, ToSchema)]
pub struct TokenRule {
    /// Methods.
    pub method: Vec<String>,
    /// Patterns.
    pub url: Vec<String>,
    /// Restrictions, and what is carried unread.
    #[schema(value_type = Object)]
    pub other: serde_json::Value,
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

/// An account to be made: one of a person, or one of a service.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum NewAccount {
    /// Who signs in.
    Person(NewPerson),
    /// What holds tokens.
    Service(NewService),
}

/// A person's account to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPerson {
    /// An e-mail address.
    #[schema(value_type = limit::Email)]
    pub email: String,
    /// It is no service account.
    #[schema(nullable = false, schema_with = limit::no)]
    pub service: Option<bool>,
    /// Without one nobody can sign in yet.
    #[schema(value_type = Option<limit::Password>)]
    pub password: Option<String>,
    /// Names of its roles.
    #[schema(nullable = false, value_type = Option<limit::Roles>)]
    pub roles: Option<Vec<String>>,
    /// Its own grants.
    #[schema(value_type = Option<limit::Grants>)]
    pub grants: Option<Vec<Rule>>,
    /// Longest lifetime of its access tokens, in seconds; a day when absent.
    #[schema(value_type = Option<limit::Ttl>)]
    pub max_ttl: Option<u64>,
}

/// A service account to be made. It has no password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    /// A name, or an e-mail address.
    #[schema(value_type = limit::AccountName)]
    pub email: String,
    /// It is a service account.
    #[schema(schema_with = limit::yes)]
    pub service: bool,
    /// Names of its roles.
    #[schema(nullable = false, value_type = Option<limit::Roles>)]
    pub roles: Option<Vec<String>>,
    /// Its own grants.
    #[schema(value_type = Option<limit::Grants>)]
    pub grants: Option<Vec<Rule>>,
    /// Longest lifetime of its access tokens, in seconds; 366 days when absent.
    #[schema(value_type = Option<limit::Ttl>)]
    pub max_ttl: Option<u64>,
}

/// What is asked of another's token (RFC 7662 section 2.1), and perhaps of a
/// request that it may or may not be granted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Question {
    /// Of the token.
    Token(AboutToken),
    /// Of a request, too.
    Request(AboutRequest),
}

/// A token that is asked about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AboutToken {
    /// The token.
    pub token: String,
    /// There is one type here.
    #[schema(nullable = false)]
    pub token_type_hint: Option<String>,
}

/// A token and a request that are asked about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AboutRequest {
    /// The token.
    pub token: String,
    /// There is one type here.
    #[schema(nullable = false)]
    pub token_type_hint: Option<String>,
    /// The request's method.
    pub method: Method,
    /// Its path from the origin, or its URL.
    #[schema(value_type = limit::RequestUrl)]
    pub url: String,
}

/// A record as it is pushed, with its time under either name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Record {
    /// With the original's spelling of the time.
    Timestemp(RecordTimestemp),
    /// With the usual one.
    Timestamp(RecordTimestamp),
}

macro_rules! record {
    ($(#[$docs:meta])* $name:ident, $time:ident) => {
        $(#[$docs])*
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// When, in microseconds since the epoch: at most ten minutes ahead,
            /// and at most `push.max_past` ago.
            #[schema(example = 1_516_792_419_231_221_i64)]
            pub $time: i64,
            /// The application that it is of; the one in the path, where that has one.
            pub appid: Uuid,
            /// What the sender calls this kind.
            #[schema(value_type = limit::Kind, example = "applog")]
            pub r#type: String,
            /// The line.
            pub message: String,
            /// What the sender adds. A repeated key keeps all its values.
            #[schema(nullable = false)]
            pub annotations: Option<Vec<Annotation>>,
        }
    };
}

record!(
    /// A record as it is pushed, with the original's spelling of the time.
    RecordTimestemp,
    timestemp
);
record!(
    /// A record as it is pushed, with the usual spelling of the time.
    RecordTimestamp,
    timestamp
);

/// One key with one value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Annotation {
    /// The key.
    #[schema(value_type = limit::AnnotationKey)]
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
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum Pushed {
    /// A batch.
    Batch(limit::Batch),
    /// One record.
    One(Record),
}

/// The settings that agents obey.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentSettings {
    /// How often settings were changed.
    pub revision: i64,
    /// What agents may read.
    pub collector: AgentCollectors,
}

/// What agents may read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentCollectors {
    /// The journals of machines.
    pub journalbeat: Switch,
    /// Log volumes, files and consoles of containers.
    pub filebeat: Switch,
}

/// Whether something is on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// It is.
    pub enabled: bool,
}
