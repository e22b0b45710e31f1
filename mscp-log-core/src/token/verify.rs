//! Verification: what a token must be before anything in it is believed.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::claims::{Claims, ClaimsRef, Keep, Large, Payload};
use super::error::TokenError;
use super::key::Key;
use super::plain;
use super::sign::encoded_header;
use crate::access::{Base, CanonicalPath, Decide, Decision, Method, Names, Text, Walk, once};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The longest leeway, in seconds; a longer one is cut to it.
pub const MAX_LEEWAY_S: i64 = 60;

/// As many platform keys are tried.
pub const MAX_PLATFORM_KEYS: usize = 8;

/// What a token must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Tokens of our own: `kid`, `iss`, `aud` and `jti` are needed.
    Strict {
        /// The `iss` they must have.
        issuer: String,
        /// The `aud` they must have, or have among others.
        audience: String,
    },
    /// Tokens of the wider platform, which carry only what `origin.zh.md`
    /// shows. Without a `kid` every key is tried.
    Mscp,
}

/// Keys and the rules that tokens are held to. It has no clock: `now` is an
/// argument, in seconds since the epoch.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: Vec<KnownKey>,
    policy: Policy,
    leeway_s: i64,
}

#[derive(Debug, Clone)]
struct KnownKey {
    key: Key,
    /// The header that [`super::sign`] writes for it, as it stands in a token:
    /// almost every token has it, and then nothing of it need be parsed.
    header: String,
}

/// A token that holds, with everything in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The key that signed it.
    pub kid: String,
    /// Whether it is a token of the wider platform, whose subjects are no
    /// accounts of ours.
    pub platform: bool,
    /// What it says.
    pub claims: Claims,
}

impl Verified {
    /// Who it is: `user_id`, behind `platform:` for tokens of the platform.
    #[must_use]
    pub fn subject(&self) -> Cow<'_, str> {
        subject(self.platform, &self.claims.user_id)
    }

    /// Whether it is good for asking for access tokens, and for that only.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.claims.access.is_none()
    }
}

/// A token that holds and the answer to one request, both without a copy of
/// what the token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorized<'k, 'b> {
    /// The key that signed it.
    pub kid: &'k str,
    /// Whether it is a token of the wider platform.
    pub platform: bool,
    /// What it says.
    pub claims: ClaimsRef<'b>,
    /// The decision; `None` for a root token, which decides nothing.
    pub decision: Option<Decision>,
}

impl Authorized<'_, '_> {
    /// Who it is: `user_id`, behind `platform:` for tokens of the platform.
    #[must_use]
    pub fn subject(&self) -> Cow<'_, str> {
        subject(self.platform, &self.claims.user_id)
    }
}

fn subject(platform: bool, user_id: &str) -> Cow<'_, str> {
    if platform {
        Cow::Owned(format!("platform:{user_id}"))
    } else {
        Cow::Borrowed(user_id)
    }
}

/// A request to be decided.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: &'r CanonicalPath,
}

impl Verifier {
    /// A verifier for tokens of our own or, with [`Policy::Mscp`], of the
    /// platform. Of two keys of one name the first counts; a leeway over
    /// [`MAX_LEEWAY_S`] is cut to it, a negative one is none.
    #[must_use]
    pub fn new(keys: Vec<Key>, policy: Policy, leeway_s: i64) -> Self {
        let keys = keys.into_iter().map(|key| KnownKey {
            header: encoded_header(key.kid()),
            key,
        });
        Self {
            keys: keys.collect(),
            policy,
            leeway_s: leeway_s.clamp(0, MAX_LEEWAY_S),
        }
    }

    /// A verifier for tokens of the platform, with a leeway of 30 s. Keys
    /// beyond the first [`MAX_PLATFORM_KEYS`] are left out.
    #[must_use]
    pub fn platform(mut keys: Vec<Key>) -> Self {
        keys.truncate(MAX_PLATFORM_KEYS);
        Self::new(keys, Policy::Mscp, 30)
    }

    /// Verifies a token and gives all it says.
    ///
    /// # Errors
    /// Whatever makes it not hold at `now_s`; see [`TokenError`].
    pub fn verify(&self, token: &str, now_s: i64) -> Result<Verified, TokenError> {
        let (key, payload) = self.authenticate(token)?;
        let mut scratch = Vec::new();
        let json = decode_payload(payload, &mut scratch)?;
        let mut large = Keep::default();
        let claims = parse(json, &mut large)?;
        self.hold(&claims, now_s)?;
        let aud = match &self.policy {
            Policy::Strict { audience, .. } => Some(audience.clone()),
            Policy::Mscp => None,
        };
        Ok(Verified {
            kid: key.kid().to_owned(),
            platform: self.policy == Policy::Mscp,
            claims: Claims {
                iat: claims.iat,
                exp: claims.exp,
                user_id: claims.user_id.into_owned(),
                email: claims.email.into_owned(),
                role: large.role,
                access: large.access,
                iss: claims.iss.map(Cow::into_owned),
                aud,
                jti: claims.jti.map(Cow::into_owned),
            },
        })
    }

    /// Verifies a token and decides a request in one reading of it, borrowing
    /// from `scratch`, which can be used again: what [`Verifier::verify`] and
    /// [`crate::access::Access::decide`] say together, at a fraction of the cost.
    ///
    /// # Errors
    /// Whatever makes the token not hold at `now_s`; see [`TokenError`].
    pub fn authorize<'b>(
        &self,
        token: &str,
        now_s: i64,
        base: &Base,
        request: Request<'_>,
        scratch: &'b mut Vec<u8>,
    ) -> Result<Authorized<'_, 'b>, TokenError> {
        let (key, payload) = self.authenticate(token)?;
        let json = decode_payload(payload, scratch)?;
        let mut decide = Decide::new(base, request.method, request.path);
        let claims = match plain::read(json, &mut decide) {
            Some(claims) => claims,
            None => {
                let fresh = Decide::new(base, request.method, request.path);
                let mut deciding = Deciding(fresh);
                let claims = parse(json, &mut deciding)?;
                decide = deciding.0;
                claims
            }
        };
        self.hold(&claims, now_s)?;
        Ok(Authorized {
            kid: key.kid(),
            platform: self.policy == Policy::Mscp,
            decision: claims.has_access.then(|| decide.decision()),
            claims,
        })
    }

    /// The key that signed the token, and its payload, which is now believed
    /// to be from the key's holder. Nothing of it has been read.
    fn authenticate<'t>(&self, token: &'t str) -> Result<(&Key, &'t str), TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong(token.len()));
        }
        let mut dots = memchr::memchr_iter(b'.', token.as_bytes());
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(TokenError::Parts);
        };
        let (header, payload) = (&token[..first], &token[first + 1..second]);
        let (input, signature) = (&token[..second], &token[second + 1..]);
        let signature = decode_signature(signature)?;
        let verifies = |known: &&KnownKey| known.key.verify(input.as_bytes(), &signature);

        if let Some(known) = self.keys.iter().find(|known| known.header == header) {
            return match verifies(&known) {
                true => Ok((&known.key, payload)),
                false => Err(TokenError::Signature),
            };
        }
        let mut scratch = Vec::new();
        URL_SAFE_NO_PAD
            .decode_vec(header, &mut scratch)
            .map_err(|_| TokenError::Base64("header"))?;
        let header: Header<'_> =
            serde_json::from_slice(&scratch).map_err(|_| TokenError::Header)?;
        match (header.check()?, &self.policy) {
            (Some(kid), _) => {
                let mut keys = self.keys.iter();
                let known = keys.find(|known| known.key.kid() == kid);
                let known = known.ok_or(TokenError::UnknownKey)?;
                Some(known).filter(verifies)
            }
            (None, Policy::Strict { .. }) => return Err(TokenError::NoKeyId),
            (None, Policy::Mscp) => {
                let mut keys = self.keys.iter().take(MAX_PLATFORM_KEYS);
                keys.find(verifies)
            }
        }
        .map(|known| (&known.key, payload))
        .ok_or(TokenError::Signature)
    }

    /// What the policy and the time ask of the claims.
    fn hold(&self, claims: &ClaimsRef<'_>, now_s: i64) -> Result<(), TokenError> {
        if let Policy::Strict { issuer, audience } = &self.policy {
            match claims.iss.as_deref() {
                None => return Err(TokenError::Missing("iss")),
                Some(iss) if iss != issuer => return Err(TokenError::Issuer),
                Some(_) => {}
            }
            if claims.aud.is_none() {
                return Err(TokenError::Missing("aud"));
            }
            if !claims.aud.has(audience) {
                return Err(TokenError::Audience);
            }
            if claims.jti.is_none() {
                return Err(TokenError::Missing("jti"));
            }
        }
        if claims.exp <= now_s.saturating_sub(self.leeway_s) {
            return Err(TokenError::Expired);
        }
        let latest = now_s.saturating_add(self.leeway_s);
        if claims.iat > latest || claims.nbf.is_some_and(|nbf| nbf > latest) {
            return Err(TokenError::NotYet);
        }
        Ok(())
    }
}

/// Lets a decision be made while claims are read.
pub(super) struct Deciding<'r>(pub(super) Decide<'r>);

impl<'de> Large<'de> for Deciding<'_> {
    fn role(&mut self, _: Cow<'de, str>) {}

    fn access<A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        map.next_value_seed(Walk(&mut self.0))
    }
}

fn decode_signature(encoded: &str) -> Result<[u8; 32], TokenError> {
    // 43 digits and no other number of them make 32 bytes.
    let fault = TokenError::Base64("signature");
    let mut signature = [0; 33];
    match URL_SAFE_NO_PAD.decode_slice(encoded, &mut signature) {
        Ok(32) => {}
        Ok(_) => return Err(TokenError::Signature),
        Err(_) => return Err(fault),
    }
    let mut exact = [0; 32];
    exact.copy_from_slice(&signature[..32]);
    Ok(exact)
}

fn decode_payload<'b>(encoded: &str, scratch: &'b mut Vec<u8>) -> Result<&'b str, TokenError> {
    scratch.clear();
    base64_simd::URL_SAFE_NO_PAD
        .decode_append(encoded, scratch)
        .map_err(|_| TokenError::Base64("payload"))?;
    std::str::from_utf8(scratch).map_err(|_| TokenError::Claims("they are not UTF-8".to_owned()))
}

fn parse<'b, L: Large<'b>>(json: &'b str, large: &mut L) -> Result<ClaimsRef<'b>, TokenError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Payload(large)
        .deserialize(&mut deserializer)
        .and_then(|claims| deserializer.end().map(|()| claims))
        .map_err(|error| TokenError::Claims(error.to_string()))
}

/// The parts of a header that decide; each at most once.
#[derive(Default)]
struct Header<'a> {
    alg: Option<Cow<'a, str>>,
    typ: Option<Cow<'a, str>>,
    kid: Option<Cow<'a, str>>,
    crit: bool,
}

impl Header<'_> {
    /// The key's name, when everything else is as it must be.
    fn check(&self) -> Result<Option<&str>, TokenError> {
        if self.alg.as_deref() != Some("HS256") {
            return Err(TokenError::Algorithm);
        }
        if self.crit {
            return Err(TokenError::Critical);
        }
        match &self.typ {
            Some(typ) if !typ.eq_ignore_ascii_case("JWT") => Err(TokenError::Type),
            _ => Ok(self.kid.as_deref()),
        }
    }
}

impl<'de> Deserialize<'de> for Header<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Header<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JOSE header")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header<'de>, A::Error> {
                let mut header = Header::default();
                let mut names = Names::default();
                while let Some(Text(name)) = map.next_key()? {
                    let slot = match &*name {
                        "alg" => &mut header.alg,
                        "typ" => &mut header.typ,
                        "kid" => &mut header.kid,
                        "crit" => {
                            once::<A>(&mut header.crit, "crit")?;
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            names.add::<A>(name)?;
                            continue;
                        }
                    };
                    if slot.is_some() {
                        return Err(A::Error::custom("a name is given twice"));
                    }
                    let Text(value) = map.next_value()?;
                    *slot = Some(value);
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(V)
    }
}
