//! Pushed records under `base/apps`.
