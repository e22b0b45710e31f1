//! Container names and what they say of where a record came from.
