//! Index names: made and taken apart here only.
