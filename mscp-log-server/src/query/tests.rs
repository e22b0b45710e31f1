//! Restricted requests against a store that remembers what it is asked.
