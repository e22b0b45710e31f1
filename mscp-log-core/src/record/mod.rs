//! Records as they are pushed, and the document that is stored.

mod annotation;
mod document;
mod encode;
mod parse;
pub mod time;

pub use annotation::{Annotation, AnnotationValue, Annotations};
pub use document::{Document, tag};
pub use parse::{BodyError, Limits, MAX_KEY_BYTES, Record, RecordError, Window, json, ndjson};
