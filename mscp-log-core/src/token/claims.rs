//! The claims of a token: owned, and borrowed for the way of every request.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::access::{Access, Names, Text, once};

/// The payload of a token, as `origin.zh.md` shows it, and the registered
/// claims of RFC 7519 that tokens of our own carry.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Claims {
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// When it ends, in seconds since the epoch.
    pub exp: i64,
    /// Whose it is.
    pub user_id: String,
    /// The owner's address; may be empty.
    pub email: String,
    /// The owner's roles, for display: they decide nothing.
    pub role: Vec<String>,
    /// What it grants. `None` makes it a root token, good for asking for access
    /// tokens only; an empty list grants nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// The token's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
}

/// [`Claims`] without what a decision does not need, borrowed from the token's
/// decoded payload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimsRef<'a> {
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// When it ends, in seconds since the epoch.
    pub exp: i64,
    /// Whose it is.
    pub user_id: Cow<'a, str>,
    /// The owner's address; may be empty.
    pub email: Cow<'a, str>,
    /// Issuer.
    pub iss: Option<Cow<'a, str>>,
    /// The token's own id.
    pub jti: Option<Cow<'a, str>>,
    /// Whether there is an `access` claim; a root token has none.
    pub has_access: bool,
    pub(super) aud: Audience<'a>,
    pub(super) nbf: Option<i64>,
}

/// One audience or several (RFC 7519 section 4.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Audience<'a> {
    #[default]
    None,
    One(Cow<'a, str>),
    Several(Vec<Cow<'a, str>>),
}

impl Audience<'_> {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::None
    }

    pub(super) fn has(&self, wanted: &str) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => one == wanted,
            Self::Several(several) => several.iter().any(|one| one == wanted),
        }
    }
}

/// What is done with the two claims that can be large.
pub(super) trait Large<'de> {
    fn role(&mut self, role: Cow<'de, str>);
    fn access<A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error>;
}

/// Keeps both: for [`Claims`].
#[derive(Default)]
pub(super) struct Keep {
    pub(super) role: Vec<String>,
    pub(super) access: Option<Access>,
}

impl<'de> Large<'de> for Keep {
    fn role(&mut self, role: Cow<'de, str>) {
        self.role.push(role.into_owned());
    }

    fn access<A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        self.access = Some(map.next_value()?);
        Ok(())
    }
}

/// Reads a payload; `L` takes roles and rules.
pub(super) struct Payload<'l, L>(pub(super) &'l mut L);

impl<'de, L: Large<'de>> DeserializeSeed<'de> for Payload<'_, L> {
    type Value = ClaimsRef<'de>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<ClaimsRef<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, L: Large<'de>> Visitor<'de> for Payload<'_, L> {
    type Value = ClaimsRef<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClaimsRef<'de>, A::Error> {
        let mut claims = ClaimsRef::default();
        let (mut iat, mut exp, mut nbf) = (None, None, None);
        let (mut user_id, mut email, mut iss, mut jti) = (None, None, None, None);
        let (mut role, mut aud) = (false, false);
        let mut names = Names::default();
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "iat" => only(&mut iat, "iat", &mut map)?,
                "exp" => only(&mut exp, "exp", &mut map)?,
                "nbf" => only(&mut nbf, "nbf", &mut map)?,
                "user_id" => only(&mut user_id, "user_id", &mut map)?,
                "email" => only(&mut email, "email", &mut map)?,
                "iss" => only(&mut iss, "iss", &mut map)?,
                "jti" => only(&mut jti, "jti", &mut map)?,
                "role" => {
                    once::<A>(&mut role, "role")?;
                    map.next_value_seed(Roles(&mut *self.0))?;
                }
                "aud" => {
                    once::<A>(&mut aud, "aud")?;
                    claims.aud = map.next_value_seed(AudienceSeed)?;
                }
                "access" => {
                    once::<A>(&mut claims.has_access, "access")?;
                    self.0.access(&mut map)?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    names.add::<A>(name)?;
                }
            }
        }
        let text = |text: Option<Text<'de>>| text.map(|Text(text)| text);
        claims.iat = iat.ok_or_else(|| A::Error::missing_field("iat"))?;
        claims.exp = exp.ok_or_else(|| A::Error::missing_field("exp"))?;
        claims.nbf = nbf;
        claims.user_id = text(user_id).ok_or_else(|| A::Error::missing_field("user_id"))?;
        claims.email = text(email).unwrap_or_default();
        claims.iss = text(iss);
        claims.jti = text(jti);
        Ok(claims)
    }
}

fn only<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    slot: &mut Option<T>,
    name: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    *slot = Some(map.next_value()?);
    Ok(())
}

struct Roles<'l, L>(&'l mut L);

impl<'de, L: Large<'de>> DeserializeSeed<'de> for Roles<'_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, L: Large<'de>> Visitor<'de> for Roles<'_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(Text(role)) = seq.next_element()? {
            self.0.role(role);
        }
        Ok(())
    }
}

struct AudienceSeed;

impl<'de> DeserializeSeed<'de> for AudienceSeed {
    type Value = Audience<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Audience<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AudienceSeed {
    type Value = Audience<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Audience<'de>, E> {
        Ok(Audience::One(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Audience<'de>, E> {
        Ok(Audience::One(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Audience<'de>, A::Error> {
        let mut several = Vec::new();
        while let Some(Text(one)) = seq.next_element()? {
            several.push(one);
        }
        Ok(Audience::Several(several))
    }
}
