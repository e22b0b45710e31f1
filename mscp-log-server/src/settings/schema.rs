//! How the document of settings looks, for the document of the API: made from
//! the lists by which it is written and read.

use std::collections::BTreeMap;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::document::{ELSEWHERE, MOST_ELSEWHERE, READ_ONLY};
use super::{Field, KEPT, Setting};
use crate::config::range;

/// The settings as they are shown.
#[derive(Debug)]
pub struct Document;

impl PartialSchema for Document {
    fn schema() -> RefOr<Schema> {
        let mut tree = Tree::default();
        tree.put("/revision", revision());
        for setting in KEPT {
            tree.put(setting.pointer, setting.schema());
        }
        for (pointer, _) in ELSEWHERE {
            tree.put(pointer, elsewhere());
        }
        tree.shown().into()
    }
}

impl ToSchema for Document {
    fn name() -> std::borrow::Cow<'static, str> {
        "Settings".into()
    }
}

/// The limits of searches alone, as a status has them.
#[derive(Debug)]
pub struct SearchLimits;

impl PartialSchema for SearchLimits {
    fn schema() -> RefOr<Schema> {
        let mut tree = Tree::default();
        for setting in KEPT {
            if let Some(pointer) = setting.pointer.strip_prefix("/search") {
                tree.put(pointer, setting.schema());
            }
        }
        tree.shown().into()
    }
}

impl ToSchema for SearchLimits {}

/// What is taken: the settings, or a status, or the array that a status is in,
/// each of them in part.
#[derive(Debug)]
pub struct Edited;

impl PartialSchema for Edited {
    fn schema() -> RefOr<Schema> {
        let mut tree = Tree::default();
        tree.put("/revision", revision());
        for setting in KEPT {
            tree.put(setting.pointer, setting.schema());
        }
        for (pointer, _) in ELSEWHERE {
            tree.put(pointer, elsewhere());
        }
        for pattern in READ_ONLY {
            tree.put(pattern.trim_end_matches("/**"), anything());
        }
        let document = tree.taken(&BTreeMap::new(), false);
        let alone = ArrayBuilder::new()
            .items(RefOr::T(document.clone()))
            .min_items(Some(1))
            .max_items(Some(1));
        let either = OneOfBuilder::new().item(document).item(alone);
        Schema::from(either).into()
    }
}

impl ToSchema for Edited {
    fn name() -> std::borrow::Cow<'static, str> {
        "SettingsEdit".into()
    }
}

/// Members by name; `*` is any that has no name here.
#[derive(Clone, Default)]
struct Tree {
    leaf: Option<Schema>,
    members: BTreeMap<&'static str, Tree>,
}

impl Tree {
    fn put(&mut self, pointer: &'static str, schema: impl Into<Schema>) {
        let mut place = self;
        for member in pointer.split('/').skip(1) {
            place = place.members.entry(member).or_default();
        }
        place.leaf = Some(schema.into());
    }

    /// All of it, and nothing else.
    fn shown(&self) -> Schema {
        if let Some(leaf) = &self.leaf {
            return leaf.clone();
        }
        let mut object =
            ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(false)));
        for (name, member) in &self.members {
            object = object.property(*name, member.shown()).required(*name);
        }
        object.into()
    }

    /// Any of it, with what is for `every` member; `null` for a part.
    fn taken(&self, every: &BTreeMap<&'static str, Self>, part: bool) -> Schema {
        if let Some(leaf) = &self.leaf {
            return leaf.clone();
        }
        let none = BTreeMap::new();
        let star = self.members.get("*");
        let of_every = star.map_or(&none, |star| &star.members);
        let mut object = ObjectBuilder::new();
        if part {
            object = object.schema_type(SchemaType::from_iter([Type::Object, Type::Null]));
        }
        let mut members = every.clone();
        members.extend(self.members.clone());
        for (name, member) in members {
            if name != "*" {
                object = object.property(name, member.taken(of_every, true));
            }
        }
        let others = match star {
            Some(star) => AdditionalProperties::RefOr(star.taken(&none, true).into()),
            None => AdditionalProperties::FreeForm(false),
        };
        object.additional_properties(Some(others)).into()
    }
}

impl Setting {
    fn schema(&self) -> Schema {
        let (range, none) = match self.field {
            Field::RotateEnabled | Field::Journalbeat | Field::Filebeat | Field::HttpGateway => {
                let switch = ObjectBuilder::new().schema_type(SchemaType::new(Type::Boolean));
                return switch.into();
            }
            Field::RotateAge => (range::AGE_DAYS, None),
            Field::RotateMaxBytes => (range::INDEX_BYTES, Some("`null` is no limit.")),
            Field::BufferMaxBytes => (
                range::BUFFER_BYTES,
                Some(
                    "At least four times `buffer.segment_bytes`; `null` where the brokers of Kafka decide.",
                ),
            ),
            Field::Timeout => (range::SEARCH_TIMEOUT_MS, None),
            Field::MaxConcurrent => (range::SEARCHES, None),
            Field::MaxConcurrentPerSubject => (range::SEARCHES_OF_ONE, None),
            Field::MaxBuckets => (range::SEARCH_BUCKETS, None),
            Field::MaxWindow => (range::SEARCH_WINDOW, None),
            Field::MaxMemory => (range::SEARCH_MEMORY, None),
        };
        whole(range, none)
    }
}

fn anything() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue)
}

fn revision() -> ObjectBuilder {
    let names: Vec<&str> = ELSEWHERE.iter().map(|(_, name)| *name).collect();
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::String))
        .pattern(Some(format!(
            r"^[+-]?[0-9]{{1,18}}(;({})=\+?[0-9]{{1,19}})*$",
            names.join("|")
        )))
        .description(Some(
            "Which settings they were: a change of others is refused.",
        ))
}

fn elsewhere() -> Schema {
    whole((0, MOST_ELSEWHERE), Some("`null` where it is not known."))
}

/// A whole number, or `null` where `none` says what that means.
fn whole((least, most): (u64, u64), none: Option<&str>) -> Schema {
    let types = match none {
        Some(_) => SchemaType::from_iter([Type::Integer, Type::Null]),
        None => SchemaType::new(Type::Integer),
    };
    let number = ObjectBuilder::new()
        .schema_type(types)
        .minimum(Some(least))
        .maximum(Some(most));
    number.description(none).into()
}
