//! The fields of a stored document: one table that the cleaner, the index
//! templates, the query language and the embedded store all read.
//!
//! Adding a field is one line here. Changing the type of one changes every
//! store that exists, so it does not happen without a format version.

/// How a field is indexed and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// Milliseconds since the epoch; written as RFC 3339 in UTC.
    Date,
    /// A signed 64-bit number.
    Long,
    /// One term, compared byte by byte; longer than 8,191 UTF-16 units is not indexed.
    Keyword,
    /// Words, as the `standard` analyzer (UAX #29) finds them.
    Text,
    /// An object whose leaves are keywords, reached as `field.key`.
    Flattened,
}

/// Every field of the stored document, in the order in which a mapping shows
/// them: by name.
pub const FIELDS: &[(&str, FieldType)] = &[
    ("@timestamp", FieldType::Date),
    ("annotation", FieldType::Keyword),
    ("annotations", FieldType::Flattened),
    ("appid", FieldType::Keyword),
    ("cluster", FieldType::Keyword),
    ("container", FieldType::Keyword),
    ("container_id", FieldType::Keyword),
    ("containerid", FieldType::Keyword),
    ("controler", FieldType::Keyword),
    ("event_id", FieldType::Keyword),
    ("hostname", FieldType::Keyword),
    ("index", FieldType::Keyword),
    ("ingest_us", FieldType::Long),
    ("level", FieldType::Keyword),
    ("log.dir", FieldType::Keyword),
    ("log.file.path", FieldType::Keyword),
    ("log.offset", FieldType::Long),
    ("message", FieldType::Text),
    ("namespace", FieldType::Keyword),
    ("pod", FieldType::Keyword),
    ("podid", FieldType::Keyword),
    ("realtime_us", FieldType::Long),
    ("region", FieldType::Keyword),
    ("resourceid", FieldType::Keyword),
    ("seq", FieldType::Long),
    ("source_time", FieldType::Date),
    ("span_id", FieldType::Keyword),
    ("stream", FieldType::Keyword),
    ("tags", FieldType::Keyword),
    ("trace_id", FieldType::Keyword),
    ("type", FieldType::Keyword),
    ("uuid", FieldType::Keyword),
    ("zone", FieldType::Keyword),
];

/// The type of `name`, or `None` where no document has such a field.
///
/// A path below a flattened field (`annotations.user`) is a keyword.
///
/// ```
/// use mscp_log_core::field::{FieldType, type_of};
/// assert_eq!(type_of("message"), Some(FieldType::Text));
/// assert_eq!(type_of("annotations.user"), Some(FieldType::Keyword));
/// assert_eq!(type_of("nothing"), None);
/// ```
#[must_use]
pub fn type_of(name: &str) -> Option<FieldType> {
    if let Ok(place) = FIELDS.binary_search_by_key(&name, |(field, _)| field) {
        return Some(FIELDS[place].1);
    }
    let below = name.strip_prefix("annotations.")?;
    (!below.is_empty()).then_some(FieldType::Keyword)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_a_look_up_finds_every_field() {
        assert!(FIELDS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, kind) in FIELDS {
            assert_eq!(type_of(name), Some(*kind));
        }
    }
}
