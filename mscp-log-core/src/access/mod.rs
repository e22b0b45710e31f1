//! Access rules: what a token grants, and whether it grants this request.
//!
//! A rule is methods × URL patterns × restrictions. A request's path becomes a
//! [`CanonicalPath`] first; [`Access::decide`] then says whether some rule
//! matches and what of the log may be seen, and [`Access::cover`] which rules a
//! new token may have, given its owner's grants. The form of a rule and the
//! words `method`, `url` and `other` are those of `origin.zh.md`.
//!
//! Nothing here does I/O: any service that has the keys can link it.

mod base;
mod cover;
mod decide;
mod method;
mod path;
mod pattern;
mod restriction;
mod rule;
mod walk;

#[cfg(test)]
mod tests;

pub use base::{Base, BaseError};
pub use cover::NotCovered;
pub use decide::{Decision, RESERVED_REGIONS, Visible};
pub use method::{Method, Methods, UnknownMethod};
pub use path::{CanonicalPath, PathError};
pub use pattern::{Pattern, PatternError};
pub use restriction::Restriction;
pub use rule::{Access, AccessError, EntryFault, Other, Rule};

#[cfg(feature = "token")]
pub(crate) use decide::Decide;
#[cfg(feature = "token")]
pub(crate) use walk::{Names, Sink, Text, Walk, once};
