//! The least and the most of keys that administrators may change while nodes
//! run: what the configuration is read by and what the API's document shows.

use super::{GIB, MIB, MINUTE_MS};

/// `rotation.age_days`
pub const AGE_DAYS: (u64, u64) = (0, 36_500);
/// `rotation.max_bytes`
pub const INDEX_BYTES: (u64, u64) = (MIB, 1_000_000 * GIB);
/// `buffer.max_bytes`
pub const BUFFER_BYTES: (u64, u64) = (16 * MIB, GIB << 20);
/// `search.timeout`, in milliseconds
pub const SEARCH_TIMEOUT_MS: (u64, u64) = (100, 60 * MINUTE_MS);
/// `search.max_concurrent`
pub const SEARCHES: (u64, u64) = (1, 1_024);
/// `search.max_concurrent_per_subject`
pub const SEARCHES_OF_ONE: (u64, u64) = (1, 10_000);
/// `search.max_buckets`
pub const SEARCH_BUCKETS: (u64, u64) = (1, 1_000_000);
/// `search.max_window`
pub const SEARCH_WINDOW: (u64, u64) = (1, 1_000_000);
/// `search.max_memory`
pub const SEARCH_MEMORY: (u64, u64) = (MIB, 64 * GIB);
