//! Root tokens, access tokens, sessions and introspection under `base/auth`.
