//! The configuration: one TOML file, each key overridable by environment variable.
