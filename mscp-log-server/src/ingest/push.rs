//! Pushed records: limits, rights, idempotency.
