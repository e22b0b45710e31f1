//! Signing: the compact form of RFC 7515 section 7.1.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::Claims;
use super::key::Key;

/// A token with these claims. It can be longer than
/// [`super::MAX_TOKEN_BYTES`], and is then refused by every verifier.
#[must_use]
pub fn sign(claims: &Claims, key: &Key) -> String {
    let payload = serde_json::to_vec(claims)
        .expect("claims are strings, numbers and JSON values, all of which can be written");
    let mut token = encoded_header(key.kid());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = key.sign(token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

/// The header of tokens that a key signs, in base64url.
pub(super) fn encoded_header(kid: &str) -> String {
    let kid = serde_json::Value::from(kid);
    URL_SAFE_NO_PAD.encode(format!(r#"{{"typ":"JWT","alg":"HS256","kid":{kid}}}"#))
}
