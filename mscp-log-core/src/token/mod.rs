//! JSON Web Tokens, as this system takes and makes them: HS256 alone (RFC 7515,
//! 7518, 7519, with the advice of RFC 8725), the claims of `origin.zh.md`.
//!
//! ```
//! use mscp_log_core::token::{Claims, Key, Policy, Verifier, sign};
//! let key = Key::new("2026-11-23", &[7; 32])?;
//! let claims = Claims {
//!     iat: 1_000,
//!     exp: 2_000,
//!     user_id: "12203".to_owned(),
//!     iss: Some("mscp-log".to_owned()),
//!     aud: Some("mscp-log".to_owned()),
//!     jti: Some("1".to_owned()),
//!     ..Claims::default()
//! };
//! let token = sign(&claims, &key);
//! let policy = Policy::Strict { issuer: "mscp-log".to_owned(), audience: "mscp-log".to_owned() };
//! let verifier = Verifier::new(vec![key], policy, 30);
//! assert_eq!(verifier.verify(&token, 1_500)?.claims, claims);
//! assert!(verifier.verify(&token, 2_030).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod claims;
mod error;
mod key;
mod plain;
mod sign;
mod verify;

#[cfg(test)]
mod tests;

pub use claims::{Claims, ClaimsRef};
pub use error::TokenError;
pub use key::{Key, KeyError, MIN_SECRET_BYTES};
pub use sign::sign;
pub use verify::{
    Authorized, MAX_LEEWAY_S, MAX_PLATFORM_KEYS, MAX_TOKEN_BYTES, Policy, Request, Verified,
    Verifier,
};
