//! mscp-log's tokens and access rules in front of any HTTP service, as a [`tower`] layer.
//!
//! A request's path is made canonical, its one token is taken out and verified, and the token's
//! rules decide. What lies behind gets a [`Caller`] in the request's extensions and never sees a
//! token; a request without a good token is answered 401, one that the token does not grant 403, a
//! path with more than one reading 400, each as `application/problem+json` (RFC 9457).
//!
//! ```
//! use axum::{Extension, Router, routing::get};
//! use mscp_log_core::access::Base;
//! use mscp_log_core::token::{Key, Policy, Verifier};
//! use mscp_log_tower::{Caller, GuardLayer};
//!
//! let key = Key::new("k1", b"a secret of at least 32 bytes, random")?;
//! let policy = Policy::Strict { issuer: "https://logs.example.org".into(), audience: "mscp-log".into() };
//! let keys = Verifier::new(vec![key], policy, 30);
//! let hello = |Extension(caller): Extension<Caller>| async move { format!("hello {}", caller.subject) };
//! let app: Router = Router::new()
//!     .route("/shop/orders", get(hello))
//!     .layer(GuardLayer::new(keys, Base::new("/shop", None)?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A rule of a token names methods and URL patterns; `{mscp_api_url}` in a pattern means the
//! [`Base`] that is given here, so that `{"method": ["GET"], "url": ["{mscp_api_url}/orders"]}`
//! grants the request above. A layer that wraps a whole [`Router`](https://docs.rs/axum) also
//! rewrites the path before routing where it is applied with `tower::Layer::layer`; with
//! `Router::layer` routing comes first.
//!
//! # Who has the keys
//!
//! HS256 is symmetric: **whoever can verify a token can also make one.** Give the keys only to
//! services that you would trust to issue tokens. [`Keys`] says where they come from: a
//! [`Verifier`](mscp_log_core::token::Verifier) with keys that stay, or a [`KeyFile`] that is read
//! again when it changes. A service that is not to hold keys asks the node instead
//! (`POST base/auth/introspect`, RFC 7662).
//!
//! [`tower`]: https://docs.rs/tower
#![forbid(unsafe_code)]

pub mod credential;
mod keys;
mod layer;

pub use keys::{KeyFile, KeyFileError, Keys};
pub use layer::{Answer, Caller, Guard, GuardLayer};
