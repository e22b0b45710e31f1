//! What a field's name in a search means: which field of the index, and how
//! its values compare.

use mscp_log_core::field::{FIELDS, FieldType, type_of};
use mscp_log_core::query::wildcard;
use tantivy::schema::{Field, Schema};

use super::super::schema::{FLATTENED_SEPARATOR, ID_HIGH, INDEX};

/// A field as a search sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The field of the index.
    pub(crate) field: Field,
    /// The name of its column.
    pub(crate) column: &'static str,
    /// How its values compare.
    pub(crate) kind: Kind,
}

/// How the values of a [`Target`] compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One term, byte by byte.
    Keyword,
    /// One key of a flattened field: terms that begin with these bytes.
    Key(Vec<u8>),
    /// All keys of a flattened field.
    AnyKey,
    /// A number.
    Long,
    /// Milliseconds.
    Date,
    /// Words.
    Text,
    /// The document's id, which is its `event_id`.
    Id,
}

impl Kind {
    /// Whether values are texts, which can begin with something or fit a pattern.
    pub(crate) fn is_text_like(&self) -> bool {
        !matches!(self, Self::Long | Self::Date)
    }
}

/// The field that `name` means, or `None` where no document has such a one.
pub(crate) fn resolve(schema: &Schema, name: &str) -> Option<Target> {
    if name == "_index" {
        return Some(Target {
            field: schema.get_field(INDEX).ok()?,
            column: INDEX,
            kind: Kind::Keyword,
        });
    }
    if name == "_id" || name == "event_id" {
        return Some(Target {
            field: schema.get_field(ID_HIGH).ok()?,
            column: ID_HIGH,
            kind: Kind::Id,
        });
    }
    if let Some((column, kind)) = FIELDS.iter().find(|(field, _)| *field == name) {
        return Some(Target {
            field: schema.get_field(column).ok()?,
            column,
            kind: match kind {
                FieldType::Date => Kind::Date,
                FieldType::Long => Kind::Long,
                FieldType::Keyword => Kind::Keyword,
                FieldType::Text => Kind::Text,
                FieldType::Flattened => Kind::AnyKey,
            },
        });
    }
    type_of(name)?;
    let (root, key) = name.split_once('.')?;
    let (column, _) = FIELDS.iter().find(|(field, _)| *field == root)?;
    let mut prefix = key.as_bytes().to_vec();
    prefix.push(FLATTENED_SEPARATOR as u8);
    Some(Target {
        field: schema.get_field(column).ok()?,
        column,
        kind: Kind::Key(prefix),
    })
}

/// The fields that a pattern with `*` means, in the mapping's order.
pub(crate) fn expand(pattern: &str) -> Vec<&'static str> {
    FIELDS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| wildcard::fits(pattern, name))
        .collect()
}

/// The fields below an object: `log.offset` and its like below `log`.
pub(crate) fn below(object: &str) -> Vec<&'static str> {
    FIELDS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| {
            name.strip_prefix(object)
                .is_some_and(|rest| rest.starts_with('.'))
        })
        .collect()
}
