//! Records as they are pushed, and the document that is stored.

mod annotation;
mod document;
pub(crate) mod encode;
mod parse;
pub mod time;

pub use annotation::{Annotation, AnnotationValue, Annotations};
pub use document::{Document, Log, tag};
pub use parse::{
    BodyError, Limits, MAX_KEY_BYTES, MAX_KIND_BYTES, Record, RecordError, Window, is_kind, json,
    ndjson, storable_key,
};
