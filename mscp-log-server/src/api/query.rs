//! The passthrough under `base/{region}/log`.
