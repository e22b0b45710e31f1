//! The quick reading of a payload that is written plainly, as [`super::sign`]
//! writes it. It knows a part of JSON only and gives up on anything else, so
//! that whatever it says, [`super::claims::Payload`] says too: it never refuses
//! a token, and an escape, a space, an unknown or a repeated name is not its
//! business.

use std::borrow::Cow;

use super::claims::{Audience, ClaimsRef};
use crate::access::{Decide, Restriction, Sink};

/// The claims, and the rules into `decide`; `None` where the payload has
/// anything that is not plain. `decide` is then of no more use.
pub(super) fn read<'b>(payload: &'b str, decide: &mut Decide<'_>) -> Option<ClaimsRef<'b>> {
    let mut text = Text(payload);
    let mut claims = ClaimsRef::default();
    let mut seen = Seen(0);
    text.take(b'{')?;
    loop {
        let name = text.string()?;
        text.take(b':')?;
        match name {
            "iat" if seen.first(0) => claims.iat = text.integer()?,
            "exp" if seen.first(1) => claims.exp = text.integer()?,
            "user_id" if seen.first(2) => claims.user_id = Cow::Borrowed(text.string()?),
            "email" if seen.first(3) => claims.email = Cow::Borrowed(text.string()?),
            "role" if seen.first(4) => text.strings(|_| {})?,
            "access" if seen.first(5) => {
                text.rules(decide)?;
                claims.has_access = true;
            }
            "iss" if seen.first(6) => claims.iss = Some(Cow::Borrowed(text.string()?)),
            "aud" if seen.first(7) => claims.aud = Audience::One(Cow::Borrowed(text.string()?)),
            "jti" if seen.first(8) => claims.jti = Some(Cow::Borrowed(text.string()?)),
            _ => return None,
        }
        if !text.more(b'}')? {
            break;
        }
    }
    let needed = Seen(0b111);
    (text.0.is_empty() && seen.0 & needed.0 == needed.0).then_some(claims)
}

/// Which names an object has had.
struct Seen(u16);

impl Seen {
    fn first(&mut self, bit: u32) -> bool {
        let before = self.0;
        self.0 |= 1 << bit;
        before != self.0
    }
}

/// What has not been read.
struct Text<'b>(&'b str);

impl<'b> Text<'b> {
    fn take(&mut self, byte: u8) -> Option<()> {
        let (&first, _) = self.0.as_bytes().split_first()?;
        if first != byte {
            return None;
        }
        self.0 = &self.0[1..];
        Some(())
    }

    /// After an element: whether another one comes, or the end.
    fn more(&mut self, end: u8) -> Option<bool> {
        let &first = self.0.as_bytes().first()?;
        if first != b',' && first != end {
            return None;
        }
        self.0 = &self.0[1..];
        Some(first == b',')
    }

    /// A string in which nothing is escaped.
    fn string(&mut self) -> Option<&'b str> {
        self.take(b'"')?;
        let bytes = self.0.as_bytes();
        let mut length = 0;
        // Eight bytes at a time: those that are a quote, a backslash or a
        // control character (and some above 127, which the look at one byte
        // then lets pass) have their high bit set in `found`.
        while let Some(eight) = bytes.get(length..length + 8) {
            let eight = u64::from_le_bytes(eight.try_into().ok()?);
            let found = zero_bytes(eight ^ repeated(b'"'))
                | zero_bytes(eight ^ repeated(b'\\'))
                | (eight.wrapping_sub(repeated(0x20)) & !eight & repeated(0x80));
            if found != 0 {
                length += usize::try_from(found.trailing_zeros() / 8).ok()?;
                break;
            }
            length += 8;
        }
        while bytes.get(length).is_some_and(|&byte| is_plain(byte)) {
            length += 1;
        }
        if bytes.get(length) != Some(&b'"') {
            return None;
        }
        let (string, rest) = self.0.split_at(length);
        self.0 = &rest[1..];
        Some(string)
    }

    /// Digits that need no more than an `i64`, and no sign.
    fn integer(&mut self) -> Option<i64> {
        let length = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at(length);
        // JSON has no leading zeros (RFC 8259 section 6).
        if length == 0 || length > 18 || (length > 1 && digits.starts_with('0')) {
            return None;
        }
        // Neither a fraction nor an exponent: `more` takes neither.
        self.0 = rest;
        digits.parse().ok()
    }

    fn strings(&mut self, mut each: impl FnMut(&'b str)) -> Option<()> {
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            each(self.string()?);
            if !self.more(b']')? {
                return Some(());
            }
        }
    }

    fn rules(&mut self, sink: &mut impl Sink) -> Option<()> {
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            self.rule(sink)?;
            if !self.more(b']')? {
                return Some(());
            }
        }
    }

    fn rule(&mut self, sink: &mut impl Sink) -> Option<()> {
        let mut seen = Seen(0);
        self.take(b'{')?;
        loop {
            let name = self.string()?;
            self.take(b':')?;
            match name {
                "method" if seen.first(0) => self.strings(|method| sink.method(method))?,
                "url" if seen.first(1) => self.strings(|url| sink.url(url))?,
                "other" if seen.first(2) => self.other(sink)?,
                _ => return None,
            }
            if !self.more(b'}')? {
                break;
            }
        }
        if seen.0 & 0b11 != 0b11 {
            return None;
        }
        sink.end();
        Some(())
    }

    /// `{}`, or `log` alone.
    fn other(&mut self, sink: &mut impl Sink) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        if self.string()? != "log" {
            return None;
        }
        self.take(b':')?;
        self.log(sink)?;
        self.take(b'}')
    }

    fn log(&mut self, sink: &mut impl Sink) -> Option<()> {
        let mut seen = Seen(0);
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.take(b':')?;
            let mut fields = Restriction::FIELDS.into_iter().zip(0..);
            if name == "write" && seen.first(15) {
                self.take_word("true")?;
                sink.write(true);
            } else {
                let (field, bit) = fields.find(|(field, _)| *field == name)?;
                if !seen.first(bit) {
                    return None;
                }
                let mut values = Vec::new();
                self.strings(|value| values.push(Cow::Borrowed(value)))?;
                sink.restrict(field, values);
            }
            if !self.more(b'}')? {
                return Some(());
            }
        }
    }

    fn take_word(&mut self, word: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(word)?;
        Some(())
    }
}

const fn repeated(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The high bit of the lowest byte that is zero, and perhaps of some above it.
const fn zero_bytes(eight: u64) -> u64 {
    eight.wrapping_sub(repeated(1)) & !eight & repeated(0x80)
}

fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use serde::de::DeserializeSeed;

    use super::super::claims::Payload;
    use super::super::verify::Deciding;
    use super::*;
    use crate::access::{Base, CanonicalPath, Method};

    const PLAIN: &str = r#"{"iat":1,"exp":20,"user_id":"é12","email":"a@b","role":["x","y"],"access":[{"method":["GET","POST"],"url":["{mscp_api_url}/r1/log/**"],"other":{"log":{"namespace":["a"],"appid":["AB"],"write":true}}},{"method":["GET"],"url":["/api/r1/log/_search"],"other":{}}],"iss":"i","aud":"a","jti":"j"}"#;

    /// What is plain is read, and either way of reading says the same of it.
    fn check(payload: &str) -> bool {
        let base = Base::new("/api", None).unwrap();
        let path = CanonicalPath::parse("/api/r1/log/_search").unwrap();
        let mut decide = Decide::new(&base, Method::Get, &path);
        let Some(claims) = read(payload, &mut decide) else {
            return false;
        };
        let mut deciding = Deciding(Decide::new(&base, Method::Get, &path));
        let mut deserializer = serde_json::Deserializer::from_str(payload);
        let full = Payload(&mut deciding)
            .deserialize(&mut deserializer)
            .unwrap();
        deserializer.end().unwrap();
        assert_eq!(claims, full, "{payload}");
        assert_eq!(decide.decision(), deciding.0.decision(), "{payload}");
        true
    }

    #[test]
    fn what_is_signed_here_is_plain() {
        assert!(check(PLAIN));
        assert!(check(r#"{"iat":0,"exp":20,"user_id":""}"#));
        for not_plain in [
            "",
            "{}",
            "{",
            "[]",
            r#"{"iat":01,"exp":20,"user_id":""}"#,
            r#"{"iat":1,"exp":20}"#,
        ] {
            assert!(!check(not_plain), "{not_plain}");
        }
    }

    proptest! {
        /// Wherever the text is changed, what is still read is read rightly.
        #[test]
        fn a_changed_payload_is_read_rightly_or_left_to_the_full_reading(
            changes in prop::collection::vec(
                (any::<prop::sample::Index>(), 0_usize..3, "[\\[\\]{}\":,\\\\ \u{1}a-c0-9é.e-]{0,3}"), 1..4
            ),
        ) {
            let mut payload = PLAIN.to_owned();
            for (place, cut, put) in changes {
                let floor = |mut at: usize| { while !payload.is_char_boundary(at) { at -= 1 } at };
                let from = floor(place.index(payload.len()));
                let to = floor((from + cut).min(payload.len())).max(from);
                payload.replace_range(from..to, &put);
                if payload.is_empty() { break; }
            }
            check(&payload);
        }

        #[test]
        fn a_string_ends_where_its_quote_is(text in "[ -~é日\u{7f}\u{80}]{0,24}", tail in "[ -~é]{0,12}") {
            let quoted = format!("\"{text}\"{tail}");
            let plain = !text.contains(['"', '\\']);
            let mut reader = Text(&quoted);
            let read = reader.string();
            prop_assert_eq!(plain, read == Some(text.as_str()));
            if plain { prop_assert_eq!(reader.0, tail); }
        }
    }
}
