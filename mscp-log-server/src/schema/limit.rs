//! Texts and numbers with the limits that requests are refused by.

use mscp_log_core::access::RESERVED_REGIONS;
use mscp_log_core::record::{MAX_KEY_BYTES as ANNOTATION_KEY_BYTES, MAX_KIND_BYTES};
use utoipa::openapi::schema::{
    Array, ArrayBuilder, KnownFormat, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat,
    SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::admin::instances;
use crate::identity::{
    EMAIL_BYTES, LABEL_CHARACTERS, LONGEST_PASSWORD, LONGEST_TTL_S, MOST_ROLES, MOST_RULES,
    ROLE_NAME_BYTES, SHORTEST_PASSWORD,
};
use crate::ingest::body::Encoding;
use crate::ingest::push::MAX_KEY_BYTES;

use super::{Record, Rule};

macro_rules! limits {
    ($($(#[$docs:meta])* $name:ident = $schema:expr;)*) => {$(
        $(#[$docs])*
        #[derive(Debug)]
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                RefOr::T(Schema::from($schema))
            }
        }

        impl ToSchema for $name {}
    )*};
}

/// What no text of one line has.
const CONTROL: &str = r"\x00-\x1f\x7f-\x9f";

limits! {
    /// An e-mail address as an account has it. Space around it is left out, and
    /// a colon would end the user's name in HTTP Basic (RFC 7617 section 2).
    Email = account_name("[^SPACE:@CONTROL]+@[^SPACE:CONTROL]+");
    /// The same, or the name of a service.
    AccountName = account_name("[^SPACE:CONTROL]+");
    /// A password that is set.
    Password = text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
        .min_length(Some(SHORTEST_PASSWORD))
        .max_length(Some(LONGEST_PASSWORD))
        .description(Some(format!("{SHORTEST_PASSWORD} characters to {LONGEST_PASSWORD} bytes.")));
    /// A lifetime in seconds.
    Ttl = whole()
        .minimum(Some(1_u64))
        .maximum(Some(LONGEST_TTL_S))
        .description(Some("In seconds."));
    /// The rules that an account or a role has.
    Grants = rules();
    /// The names of an account's roles.
    Roles = ArrayBuilder::new()
        .items(text())
        .max_items(Some(MOST_ROLES));
    /// The name of a role.
    RoleName = text().pattern(Some(format!("^{NOT_DOTS}[A-Za-z0-9_.-]{{1,{ROLE_NAME_BYTES}}}$")));
    /// What a token is for.
    Label = text()
        .max_length(Some(LABEL_CHARACTERS));
    /// A pattern of URLs.
    UrlPattern = text()
        .format(Some(SchemaFormat::Custom("access-pattern".to_owned())))
        .pattern(Some(r"^(\{mscp_api_url\}|\[mscp_api_url\]|[Hh][Tt][Tt][Pp][Ss]?://[^/]+)?(/.*)?$"))
        .min_length(Some(1))
        .description(Some(
            "It begins with `{mscp_api_url}` (the base of this API), `/` (the origin) or an origin. Its \
             segments are literals as a canonical path has them, `{name}`, `{name:uuid}`, `{name:int}` or \
             `*`, and a last `**` takes the rest.",
        ));
    /// The path of a request, or its URL.
    RequestUrl = text()
        .format(Some(SchemaFormat::Custom("request-url".to_owned())))
        .description(Some("Its path must be canonical, as that of a request."));
    /// A region.
    RegionName = text()
        .pattern(Some(format!(
            "^(?!({})$)(?!.*__)[a-z0-9][a-z0-9_-]{{0,62}}$",
            RESERVED_REGIONS.join("|")
        )));
    /// One segment of a path.
    Segment = text().pattern(Some(format!(
        r"^{NOT_DOTS}(?!.*%[0-9A-Fa-f]{{2}})[^/\\;#{CONTROL}]+$"
    )));
    /// Records that are pushed at once.
    Batch = ArrayBuilder::new()
        .items(Ref::from_schema_name(Record::name()))
        .min_items(Some(1));
    /// What a sender calls a kind of records.
    Kind = text().pattern(Some(format!("^[A-Za-z0-9_.-]{{1,{MAX_KIND_BYTES}}}$")));
    /// The key of an annotation.
    AnnotationKey = text()
        .min_length(Some(1))
        .max_length(Some(ANNOTATION_KEY_BYTES))
        .pattern(Some(r"^[^\x00]*$"))
        .description(Some(format!("At most {ANNOTATION_KEY_BYTES} bytes.")));
    /// `Idempotency-Key`: printable ASCII.
    IdempotencyKey = text().pattern(Some(format!(
        "^[!-~]([ -~]{{0,{}}}[!-~])?$",
        MAX_KEY_BYTES - 2
    )));
    /// `Content-Encoding`
    ContentEncoding = text().enum_values(Some(Encoding::NAMES));
    /// `If-Match`: `*`, or strong ETags with commas between.
    IfMatch = text().pattern(Some(format!(r"^{ETAG}(,{ETAG})*$")));
    /// An instance's id.
    InstanceId = text().pattern(Some(format!("^[A-Za-z0-9_.-]{{1,{}}}$", instances::ID_CHARACTERS)));
    /// The name of a machine or a pod.
    MachineName = text()
        .pattern(Some(format!("^[^{CONTROL}]{{1,{}}}$", instances::NAME_CHARACTERS)));
    /// What an instance does.
    InstanceRoles = ArrayBuilder::new()
        .items(text().max_length(Some(instances::ROLES.1)))
        .max_items(Some(instances::ROLES.0));
    /// Nanoseconds since the epoch, as text or as a number.
    OtlpNanoseconds = either(
        whole().minimum(Some(0_u64)).maximum(Some(u64::MAX)),
        r"^\+?0*[0-9]{1,19}$",
    );
    /// A whole number with a sign, as text or as a number.
    OtlpWhole = either(
        whole().minimum(Some(i64::MIN)).maximum(Some(i64::MAX)),
        r"^[+-]?0*[0-9]{1,18}$",
    );
    /// Bytes as hexadecimal digits.
    OtlpHexadecimal = text().pattern(Some("^(0x)?([0-9a-fA-F]{2})*$"));
    /// Bytes as Base64.
    OtlpBase64 = text().pattern(Some(
        "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$",
    ));
    /// Bytes of any kind.
    Bytes = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
}

/// What is left out around a name: Unicode's White_Space. `\s` is not the same
/// in every language.
const SPACE: &str = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";

/// No path has a segment `.` or `..`.
const NOT_DOTS: &str = r"(?!\.{1,2}$)";

/// One of `If-Match`, or none.
const ETAG: &str = r#"[ \t]*(\*|"[^,]*")?[ \t]*"#;

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String))
}

fn whole() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::Integer))
}

fn either(number: ObjectBuilder, pattern: &str) -> OneOfBuilder {
    OneOfBuilder::new()
        .item(number)
        .item(text().pattern(Some(pattern)))
}

fn account_name(pattern: &str) -> Object {
    let pattern = pattern.replace("CONTROL", CONTROL).replace("SPACE", SPACE);
    text()
        .pattern(Some(format!("^[{SPACE}]*{pattern}[{SPACE}]*$")))
        .max_length(Some(EMAIL_BYTES))
        .description(Some(format!(
            "At most {EMAIL_BYTES} bytes, without spaces and colons."
        )))
        .build()
}

fn rules() -> Array {
    ArrayBuilder::new()
        .items(Ref::from_schema_name(Rule::name()))
        .max_items(Some(MOST_RULES))
        .build()
}

/// `true`
#[must_use]
pub fn yes() -> Object {
    switch(true)
}

/// `false`
#[must_use]
pub fn no() -> Object {
    switch(false)
}

fn switch(value: bool) -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Boolean))
        .enum_values(Some([value]))
        .build()
}
