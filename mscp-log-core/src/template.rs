//! Index templates for Elasticsearch 6 to 9 and OpenSearch.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::field::{FIELDS, FieldType};

/// Keywords of more UTF-16 units are kept and not indexed: Lucene takes terms
/// of up to 32,766 bytes, and a character has at most four.
pub const IGNORE_ABOVE: usize = 8_191;

/// The type that every document of Elasticsearch 6 has. Before 6.2 no type's
/// name may begin with an underscore, so it is not `_doc`.
pub const TYPE_OF_6: &str = "doc";

/// An engine that takes a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Elasticsearch 6: for `PUT _template/mscp-log`.
    Es6,
    /// Elasticsearch 7, from 7.3: for `PUT _template/mscp-log`.
    Es7,
    /// Elasticsearch 8: for `PUT _index_template/mscp-log`.
    Es8,
    /// Elasticsearch 9: for `PUT _index_template/mscp-log`.
    Es9,
    /// OpenSearch, from 2.7: for `PUT _index_template/mscp-log`.
    OpenSearch,
}

impl Version {
    /// Every engine.
    pub const ALL: [Self; 5] = [Self::Es6, Self::Es7, Self::Es8, Self::Es9, Self::OpenSearch];

    /// The path that the template is put to.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Es6 | Self::Es7 => "/_template/mscp-log",
            Self::Es8 | Self::Es9 | Self::OpenSearch => "/_index_template/mscp-log",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Es6 => "6",
            Self::Es7 => "7",
            Self::Es8 => "8",
            Self::Es9 => "9",
            Self::OpenSearch => "opensearch",
        })
    }
}

/// A version that no template is for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version of a store: expected 6, 7, 8, 9 or opensearch")]
pub struct VersionError(pub String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let found = Self::ALL
            .into_iter()
            .find(|known| known.to_string() == text);
        found.ok_or_else(|| VersionError(text.to_owned()))
    }
}

/// The body that makes `version` map the fields of stored documents.
///
/// ```
/// use mscp_log_core::template::{Version, index_template};
/// let template = index_template("8".parse::<Version>()?);
/// let properties = &template["template"]["mappings"]["properties"];
/// assert_eq!(properties["annotations"]["type"], "flattened");
/// # Ok::<(), mscp_log_core::template::VersionError>(())
/// ```
#[must_use]
pub fn index_template(version: Version) -> Value {
    template(version, &mapping_for(version))
}

/// As [`index_template`], for builds that have no type for annotations
/// (Elasticsearch 7 without the modules of the default distribution, OpenSearch
/// before 2.7): there they are kept and not indexed.
#[must_use]
pub fn without_flattened(version: Version) -> Value {
    let mut mappings = mapping_for(version);
    for (name, kind) in FIELDS {
        if *kind == FieldType::Flattened {
            mappings["properties"][name] = not_indexed();
        }
    }
    template(version, &mappings)
}

fn not_indexed() -> Value {
    json!({ "type": "object", "enabled": false })
}

fn template(version: Version, mappings: &Value) -> Value {
    let settings = json!({
        "index": {
            "codec": "best_compression",
            "number_of_shards": 1,
            "refresh_interval": "1s",
        }
    });
    match version {
        Version::Es6 => json!({
            "index_patterns": ["logstash-*"],
            "order": 100,
            "settings": settings,
            "mappings": { TYPE_OF_6: mappings },
        }),
        Version::Es7 => json!({
            "index_patterns": ["logstash-*"],
            "order": 100,
            "settings": settings,
            "mappings": mappings,
        }),
        Version::Es8 | Version::Es9 | Version::OpenSearch => json!({
            "index_patterns": ["logstash-*"],
            "priority": 200,
            "template": { "settings": settings, "mappings": mappings },
        }),
    }
}

/// The mapping alone, as current engines show it: `dynamic` and `properties`.
/// The embedded store has it for every index.
#[must_use]
pub fn mapping() -> Value {
    mapping_for(Version::Es8)
}

/// What `_field_caps` of a major version says of the fields that are wanted: by
/// name, then by type. Objects are shown with the fields below them.
#[must_use]
pub fn field_caps(is_wanted: impl Fn(&str) -> bool, major: u16) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut add = |name: &str, kind: &str, metadata: bool, searchable: bool, aggregatable: bool| {
        let caps = json!({
            "type": kind,
            "metadata_field": metadata,
            "searchable": searchable,
            "aggregatable": aggregatable,
        });
        fields.insert(name.to_owned(), json!({ kind: caps }));
    };
    for (name, searchable, aggregatable, before) in METADATA {
        if is_wanted(name) && major < before {
            add(name, name, true, searchable, aggregatable);
        }
    }
    for (name, kind) in FIELDS.iter().filter(|(name, _)| is_wanted(name)) {
        for (dot, _) in name.match_indices('.') {
            add(&name[..dot], "object", false, false, false);
        }
        let (kind, aggregatable) = match kind {
            FieldType::Date => ("date", true),
            FieldType::Long => ("long", true),
            FieldType::Keyword => ("keyword", true),
            FieldType::Text => ("text", false),
            FieldType::Flattened => ("flattened", true),
        };
        add(name, kind, false, true, aggregatable);
    }
    fields
}

/// Fields that every document has beside its own: name, whether it can be
/// searched and aggregated, and the version that has it no more.
const METADATA: [(&str, bool, bool, u16); 4] = [
    ("_id", true, false, u16::MAX),
    ("_index", true, true, u16::MAX),
    ("_source", false, false, u16::MAX),
    ("_type", true, true, 8),
];

fn mapping_for(version: Version) -> Value {
    let mut properties = Map::new();
    for (name, kind) in FIELDS {
        let mut names: Vec<&str> = name.split('.').collect();
        let leaf = names.pop().unwrap_or_default();
        let mut place = &mut properties;
        for name in names {
            let object = place
                .entry(name)
                .or_insert_with(|| json!({ "properties": {} }));
            place = object["properties"]
                .as_object_mut()
                .expect("no field of the table is above another");
        }
        place.insert(leaf.to_owned(), field(version, *kind));
    }
    json!({ "dynamic": false, "properties": properties })
}

fn field(version: Version, kind: FieldType) -> Value {
    match kind {
        FieldType::Date => json!({ "type": "date" }),
        FieldType::Long => json!({ "type": "long" }),
        FieldType::Keyword => json!({ "type": "keyword", "ignore_above": IGNORE_ABOVE }),
        FieldType::Text => json!({ "type": "text" }),
        FieldType::Flattened => match version {
            Version::Es6 => not_indexed(),
            Version::OpenSearch => json!({ "type": "flat_object" }),
            _ => json!({ "type": "flattened", "ignore_above": IGNORE_ABOVE }),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_mapping_has_every_field_of_the_table_by_its_path() {
        let mapping = mapping();
        for (name, _) in FIELDS {
            let path = format!("/properties/{}/type", name.replace('.', "/properties/"));
            assert!(mapping.pointer(&path).is_some(), "{name}");
        }
    }

    #[test]
    fn a_version_is_read_as_it_is_written() {
        for version in Version::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert!("5".parse::<Version>().is_err());
    }

    #[test]
    fn without_a_type_for_annotations_they_are_kept_and_not_indexed() {
        let template = without_flattened(Version::Es7);
        let annotations = &template["mappings"]["properties"]["annotations"];
        assert_eq!(*annotations, not_indexed());
        let text = template.to_string();
        assert!(!text.contains("flat"), "{text}");
    }

    #[test]
    fn the_templates_are_those_that_are_published() {
        for version in Version::ALL {
            insta::assert_json_snapshot!(format!("template_{version}"), index_template(version));
        }
    }
}
