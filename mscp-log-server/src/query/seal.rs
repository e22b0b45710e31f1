//! Ids of scrolls and points in time, sealed to those who may use them.
//!
//! A store's id opens the state that it names to whoever has it, and says which
//! indices there are. So one who may see only part of the log is given it
//! encrypted, and bound to the region, to them and to what they may see.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use mscp_log_core::access::Visible;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const NONCE_BYTES: usize = 24;

/// The version of the form of a sealed id.
const VERSION: u8 = 1;

/// The least bytes that are encrypted; more are four times as many, and so on,
/// so that the length does not count the indices. Elasticsearch has about 100
/// bytes a shard in an id.
const LEAST_BYTES: usize = 4 * 1_024;

/// The most bytes of a sealed id that are looked at.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// Seals ids with a key of its own.
pub struct Sealing(XChaCha20Poly1305);

impl std::fmt::Debug for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealing(..)")
    }
}

/// What is kept by the store for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Scroll,
    PointInTime,
}

/// What a sealed id says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// What the store calls it.
    pub(super) id: String,
    /// The indices that were named; none is all.
    pub(super) indices: Vec<String>,
    /// The keys that hits of a scroll are sorted by.
    pub(super) keys: usize,
    /// Of a scroll that has no more hits, what its pages say of them. Some
    /// stores end such a scroll, if no shard could have had any.
    pub(super) end: Option<String>,
}

/// Who may use an id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder<'a> {
    pub(super) region: &'a str,
    pub(super) subject: &'a str,
    pub(super) visible: &'a Visible,
}

impl Holder<'_> {
    /// The holder as bytes: of two that differ they differ.
    fn bytes(&self, kind: Kind) -> Vec<u8> {
        let visible = match self.visible {
            Visible::All => None,
            Visible::Restricted(restrictions) => {
                let mut restrictions = restrictions.clone();
                restrictions.sort();
                Some(restrictions)
            }
        };
        serde_json::json!([self.region, self.subject, visible, kind])
            .to_string()
            .into_bytes()
    }
}

impl Sealing {
    /// With a key made of a secret that all replicas share, so that an id that
    /// one of them gave is good at all.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let key = Sha256::new()
            .chain_update(b"mscp-log cursor ids\0")
            .chain_update(secret)
            .finalize();
        Self(XChaCha20Poly1305::new(&key))
    }

    /// The id as its holder gets it; `None` where the system gives no random bytes.
    pub(super) fn seal(&self, holder: &Holder<'_>, kind: Kind, cursor: &Cursor) -> Option<String> {
        let mut plain = serde_json::to_vec(cursor).ok()?;
        let mut length = LEAST_BYTES;
        while length < plain.len() {
            length *= 4;
        }
        // White space behind a JSON document is part of its grammar.
        plain.resize(length, b' ');
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).ok()?;
        let payload = Payload {
            msg: &plain,
            aad: &holder.bytes(kind),
        };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&[VERSION], &nonce[..], &sealed].concat()))
    }

    /// What the id says, if it was given to this holder.
    pub(super) fn open(&self, holder: &Holder<'_>, kind: Kind, text: &str) -> Option<Cursor> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: sealed,
            aad: &holder.bytes(kind),
        };
        let plain = self.0.decrypt(&XNonce::from(*nonce), payload).ok()?;
        serde_json::from_slice(&plain).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use mscp_log_core::access::Restriction;

    use super::*;

    fn of(namespace: &str) -> Visible {
        Visible::Restricted(vec![Restriction {
            namespace: Some([namespace.to_owned()].into()),
            ..Restriction::none()
        }])
    }

    fn cursor(length: usize) -> Cursor {
        Cursor {
            id: "x".repeat(length),
            indices: vec!["a*".to_owned()],
            keys: 3,
            end: None,
        }
    }

    #[test]
    fn only_its_holder_opens_an_id() {
        let (shop, bank) = (of("shop"), of("bank"));
        let holder = Holder {
            region: "local",
            subject: "someone",
            visible: &shop,
        };
        let sealing = Sealing::new(b"secret");
        let id = sealing.seal(&holder, Kind::Scroll, &cursor(10)).unwrap();
        let open = |holder: Holder<'_>, kind| Sealing::new(b"secret").open(&holder, kind, &id);
        assert_eq!(open(holder, Kind::Scroll), Some(cursor(10)));
        assert_eq!(open(holder, Kind::PointInTime), None);
        for other in [
            Holder {
                region: "other",
                ..holder
            },
            Holder {
                subject: "other",
                ..holder
            },
            Holder {
                visible: &bank,
                ..holder
            },
            Holder {
                visible: &Visible::All,
                ..holder
            },
        ] {
            assert_eq!(open(other, Kind::Scroll), None, "{other:?}");
        }
        let elsewhere = Sealing::new(b"another").open(&holder, Kind::Scroll, &id);
        assert_eq!(elsewhere, None);
        for text in ["", "AQ", "x".repeat(10).as_str(), &id[1..]] {
            assert_eq!(sealing.open(&holder, Kind::Scroll, text), None, "{text}");
        }
    }

    #[test]
    fn an_id_is_good_whatever_the_order_of_the_rules_and_of_no_other_version() {
        let (Visible::Restricted(shop), Visible::Restricted(bank)) = (of("shop"), of("bank"))
        else {
            panic!("made restricted above");
        };
        let both = Visible::Restricted([shop.clone(), bank.clone()].concat());
        let turned = Visible::Restricted([bank, shop].concat());
        let holder = |visible| Holder {
            region: "local",
            subject: "someone",
            visible,
        };
        let sealing = Sealing::new(b"secret");
        let id = sealing.seal(&holder(&both), Kind::Scroll, &cursor(1));
        let id = id.unwrap();
        let open = |id: &str| sealing.open(&holder(&turned), Kind::Scroll, id);
        assert_eq!(open(&id), Some(cursor(1)));
        let mut bytes = URL_SAFE_NO_PAD.decode(&id).unwrap();
        bytes[0] += 1;
        assert_eq!(open(&URL_SAFE_NO_PAD.encode(bytes)), None);
    }

    #[test]
    fn the_length_of_an_id_does_not_count_what_is_in_it() {
        let visible = of("shop");
        let holder = Holder {
            region: "local",
            subject: "someone",
            visible: &visible,
        };
        let length = |id| {
            let sealing = Sealing::new(b"secret");
            let sealed = sealing.seal(&holder, Kind::PointInTime, &cursor(id));
            sealed.unwrap().len()
        };
        assert_eq!(length(10), length(4_000));
        assert_eq!(length(4_200), length(16_000));
    }
}
