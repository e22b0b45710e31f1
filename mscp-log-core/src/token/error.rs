//! Why a token was refused.

/// Why a token was refused. The answer to the request is 401 whichever it is;
/// the text is for logs. It may quote a claim, never the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Over [`super::MAX_TOKEN_BYTES`].
    #[error("the token is too long: {0} bytes, at most 16384 are taken")]
    TooLong(usize),
    /// Not `header.payload.signature`.
    #[error("the token has not three parts")]
    Parts,
    /// A part is not canonical base64url without padding.
    #[error("the token's {0} is not canonical base64url without padding")]
    Base64(&'static str),
    /// The header is not the JSON it should be.
    #[error("the token's header is malformed")]
    Header,
    /// `alg` is another than HS256.
    #[error("the token's alg is not HS256")]
    Algorithm,
    /// The header has `crit`: something must be understood that is not.
    #[error("the token's header has crit")]
    Critical,
    /// `typ` is there and is not JWT.
    #[error("the token's typ is not JWT")]
    Type,
    /// The token names no key, and here it must.
    #[error("the token names no key")]
    NoKeyId,
    /// The token names a key that is not known.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// The signature is of another key or of other content.
    #[error("the token's signature does not verify")]
    Signature,
    /// The payload is not the JSON it should be.
    #[error("the token's claims are malformed: {0}")]
    Claims(String),
    /// A claim that is needed is missing.
    #[error("the token has no {0}")]
    Missing(&'static str),
    /// `iss` is another.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` does not have ours.
    #[error("the token is for another audience")]
    Audience,
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// `iat` or `nbf` is ahead.
    #[error("the token is not valid yet")]
    NotYet,
}
