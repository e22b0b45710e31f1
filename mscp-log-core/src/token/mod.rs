//! Tokens: JWTs signed with HS256 (RFC 7515, RFC 7519).
