//! Tokens against another implementation, against the vectors of the RFCs, and
//! against everything that must not pass.
#![allow(clippy::unwrap_used, reason = "tests")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::access::{Access, Base, CanonicalPath, Decision, Method};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_516_792_419;

fn key() -> Key {
    Key::new("k1", SECRET).unwrap()
}

fn strict() -> Policy {
    Policy::Strict {
        issuer: "mscp-log".to_owned(),
        audience: "logs".to_owned(),
    }
}

fn verifier() -> Verifier {
    let other = Key::new("k0", &[9; 32]).unwrap();
    Verifier::new(vec![other, key()], strict(), 30)
}

fn claims() -> Claims {
    Claims {
        iat: NOW,
        exp: NOW + 3600,
        user_id: "12203".to_owned(),
        email: "linyzbj@cn.linyz.net".to_owned(),
        role: vec!["cloud".to_owned(), "user".to_owned()],
        access: Some(
            r#"[{"method": ["GET"], "url": ["{mscp_api_url}/{region}/log/**"], "other": {"log": {"namespace": ["a"]}}}]"#
                .parse()
                .unwrap(),
        ),
        iss: Some("mscp-log".to_owned()),
        aud: Some("logs".to_owned()),
        jti: Some("j1".to_owned()),
    }
}

/// A token of any header and payload, signed as they are written.
fn signed(header: &str, payload: &str, secret: &[u8]) -> String {
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = jsonwebtoken::crypto::sign(
        input.as_bytes(),
        &EncodingKey::from_secret(secret),
        Algorithm::HS256,
    )
    .unwrap();
    format!("{input}.{signature}")
}

const HEADER: &str = r#"{"typ":"JWT","alg":"HS256","kid":"k1"}"#;

fn payload_with(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
    let mut payload = serde_json::to_value(claims()).unwrap();
    change(payload.as_object_mut().unwrap());
    payload.to_string()
}

#[track_caller]
fn refused(token: &str, why: &TokenError) {
    assert_eq!(
        verifier().verify(token, NOW).as_ref(),
        Err(why).map(|v: &Verified| v)
    );
    let (base, path) = (
        Base::new("/api", None).unwrap(),
        CanonicalPath::parse("/x").unwrap(),
    );
    let request = Request {
        method: Method::Get,
        path: &path,
    };
    let mut scratch = Vec::new();
    let authorized = verifier()
        .authorize(token, NOW, &base, request, &mut scratch)
        .map(drop);
    assert_eq!(authorized.as_ref(), Err(why));
}

#[track_caller]
fn malformed(payload: &str) {
    let token = signed(HEADER, payload, SECRET);
    let error = verifier().verify(&token, NOW).unwrap_err();
    assert!(
        matches!(error, TokenError::Claims(_)),
        "{error} of {payload}"
    );
    let (base, path) = (
        Base::new("/api", None).unwrap(),
        CanonicalPath::parse("/x").unwrap(),
    );
    let request = Request {
        method: Method::Get,
        path: &path,
    };
    let mut scratch = Vec::new();
    let error = verifier()
        .authorize(&token, NOW, &base, request, &mut scratch)
        .unwrap_err();
    assert!(
        matches!(error, TokenError::Claims(_)),
        "{error} of {payload}"
    );
}

fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.set_audience(&["logs"]);
    validation
}

fn some_claims() -> impl Strategy<Value = Claims> {
    let text = "\\PC{0,12}";
    (
        NOW - 10_000..NOW,
        NOW + 1..NOW + 10_000,
        text,
        text,
        prop::collection::vec(text, 0..3),
        prop::option::of(Just(claims().access.unwrap())),
        text,
    )
        .prop_map(|(iat, exp, user_id, email, role, access, jti)| Claims {
            iat,
            exp,
            user_id,
            email,
            role,
            access,
            jti: Some(jti),
            ..claims()
        })
}

proptest! {
    #[test]
    fn another_implementation_reads_what_is_signed_here(claims in some_claims()) {
        let token = sign(&claims, &key());
        let theirs = jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_secret(SECRET), &validation()).unwrap();
        prop_assert_eq!(theirs.claims, serde_json::to_value(&claims).unwrap());
        prop_assert_eq!(theirs.header.kid.as_deref(), Some("k1"));
    }

    #[test]
    fn what_another_implementation_signs_is_read_here(claims in some_claims()) {
        let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(SECRET)).unwrap();
        let verified = verifier().verify(&token, NOW).unwrap();
        prop_assert_eq!(&verified.claims, &claims);
        prop_assert_eq!(verified.kid, "k1");
        prop_assert_eq!(verifier().verify(&sign(&claims, &key()), NOW).unwrap().claims, claims);
    }

    /// No byte of a token can be another: what is changed anywhere is refused.
    #[test]
    fn a_token_with_one_character_changed_is_refused(
        place in any::<prop::sample::Index>(),
        to in "[A-Za-z0-9_.=+/ -]",
    ) {
        let token = sign(&claims(), &key());
        let place = place.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(place..=place, &to);
        prop_assume!(changed != token);
        prop_assert!(verifier().verify(&changed, NOW).is_err(), "{}", changed);
    }

    #[test]
    fn a_token_holds_from_its_issue_until_its_end_and_for_the_leeway(
        iat in NOW - 100..NOW + 100, exp in NOW - 100..NOW + 100, leeway in -10_i64..100
    ) {
        let claims = Claims { iat, exp, ..claims() };
        let taken = leeway.clamp(0, 60);
        let holds = exp > NOW - taken && iat <= NOW + taken;
        let verifier = Verifier::new(vec![key()], strict(), leeway);
        prop_assert_eq!(verifier.verify(&sign(&claims, &key()), NOW).is_ok(), holds);
    }

    #[test]
    fn both_ways_of_verifying_say_the_same(
        claims in some_claims(),
        at in prop::sample::select(vec!["/api/r1/log/_search", "/api/r1/log", "/x"]),
        method in prop::sample::select(Method::ALL.to_vec()),
    ) {
        let token = sign(&claims, &key());
        let (base, path) = (Base::new("/api", None).unwrap(), CanonicalPath::parse(at).unwrap());
        let mut scratch = vec![1, 2, 3];
        let verifier = verifier();
        let authorized = verifier.authorize(&token, NOW, &base, Request { method, path: &path }, &mut scratch).unwrap();
        let verified = verifier.verify(&token, NOW).unwrap();
        prop_assert_eq!(authorized.subject(), verified.subject());
        prop_assert_eq!(authorized.claims.jti.as_deref(), verified.claims.jti.as_deref());
        prop_assert_eq!(authorized.claims.exp, verified.claims.exp);
        prop_assert_eq!(authorized.decision, verified.claims.access.map(|access| access.decide(&base, method, &path)));
    }

    #[test]
    fn no_text_makes_a_verifier_panic(text in any::<String>(), header in any::<Vec<u8>>(), payload in any::<Vec<u8>>()) {
        let verifiers = [verifier(), Verifier::platform(vec![key()])];
        let made = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&payload), text);
        for verifier in &verifiers {
            prop_assert!(verifier.verify(&text, NOW).is_err());
            prop_assert!(verifier.verify(&made, NOW).is_err());
        }
    }

    #[test]
    fn no_signed_payload_makes_a_verifier_panic(payload in "[\\[\\]{}\":,a-z0-9 ]{0,64}") {
        prop_assert!(verifier().verify(&signed(HEADER, &payload, SECRET), NOW).is_err());
    }
}

#[test]
fn the_token_of_rfc_7515_a_1_verifies() {
    let secret = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let verifier = Verifier::platform(vec![Key::new("a1", &secret).unwrap()]);
    // Its signature holds; it is refused for what it does not say.
    let error = verifier.verify(token, 1_300_819_000).unwrap_err();
    assert!(
        matches!(&error, TokenError::Claims(what) if what.contains("missing field `iat`")),
        "{error}"
    );
    let forged = token.replace("dBjftJ", "dBjftK");
    assert_eq!(
        verifier.verify(&forged, 1_300_819_000),
        Err(TokenError::Signature)
    );
}

#[test]
fn a_header_that_asks_for_anything_else_is_refused() {
    let payload = payload_with(|_| {});
    let with = |header: &str| signed(header, &payload, SECRET);
    for header in [
        r#"{"typ":"JWT","alg":"none","kid":"k1"}"#,
        r#"{"typ":"JWT","alg":"HS512","kid":"k1"}"#,
        r#"{"typ":"JWT","alg":"hs256","kid":"k1"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"k1"}"#,
        r#"{"typ":"JWT","kid":"k1"}"#,
    ] {
        refused(&with(header), &TokenError::Algorithm);
    }
    refused(
        &with(r#"{"alg":"HS256","kid":"k1","crit":["exp"]}"#),
        &TokenError::Critical,
    );
    refused(
        &with(r#"{"alg":"HS256","kid":"k1","crit":[]}"#),
        &TokenError::Critical,
    );
    refused(
        &with(r#"{"alg":"HS256","kid":"k1","crit":null}"#),
        &TokenError::Critical,
    );
    refused(
        &with(r#"{"alg":"HS256","kid":"k1","typ":"at+jwt"}"#),
        &TokenError::Type,
    );
    refused(
        &with(r#"{"alg":"HS256","kid":"k2"}"#),
        &TokenError::UnknownKey,
    );
    refused(
        &with(r#"{"alg":"HS256","kid":"k0"}"#),
        &TokenError::Signature,
    );
    refused(
        &with(r#"{"typ":"JWT","alg":"HS256"}"#),
        &TokenError::NoKeyId,
    );
    for header in [
        r#"{"alg":"HS256","alg":"HS256","kid":"k1"}"#,
        r#"{"alg":"HS256","kid":"k0","kid":"k1"}"#,
        r#"{"alg":"HS256","kid":"k1","x":1,"x":1}"#,
        r#"{"alg":1,"kid":"k1"}"#,
        r#"{"alg":"HS256","kid":1}"#,
        r#"{"alg":"HS256","kid":"k1"} {}"#,
        r#"["alg","HS256"]"#,
        "",
    ] {
        refused(&with(header), &TokenError::Header);
    }
    // Another order, other spaces and an escape are the same header.
    let same = with("{ \"kid\":\"k\\u0031\", \"alg\" : \"HS256\" , \"cty\": \"x\"}");
    assert!(verifier().verify(&same, NOW).is_ok());
}

#[test]
fn claims_of_another_shape_are_refused() {
    for (name, value) in [
        ("iat", json!("1")),
        ("iat", json!(1.5)),
        ("iat", json!(null)),
        ("exp", json!("99999999999")),
        ("exp", json!(1e300)),
        ("exp", json!(u64::MAX)),
        ("nbf", json!("1")),
        ("user_id", json!(12203)),
        ("user_id", json!(null)),
        ("email", json!(1)),
        ("role", json!("admin")),
        ("role", json!([1])),
        ("access", json!(null)),
        ("access", json!({})),
        ("access", json!([{"method": ["GET"], "url": "/**"}])),
        ("iss", json!(["mscp-log"])),
        ("aud", json!(1)),
        ("aud", json!([1])),
        ("jti", json!(1)),
    ] {
        malformed(&payload_with(|payload| {
            payload.insert(name.to_owned(), value);
        }));
    }
    for name in ["iat", "exp", "user_id"] {
        malformed(&payload_with(|payload| {
            payload.remove(name);
        }));
    }
    let whole = payload_with(|_| {});
    malformed(&format!("{whole} 1"));
    malformed(&format!("[{whole}]"));
    malformed("");
    malformed("{\"iat\":1,\u{1}}");
}

#[test]
fn a_claim_given_twice_is_refused_whatever_its_name_is() {
    let whole = payload_with(|_| {});
    for (name, value) in [
        ("iat", "1"),
        ("exp", "9999999999"),
        ("user_id", "\"root\""),
        ("email", "\"\""),
        ("role", "[]"),
        ("access", "[]"),
        ("iss", "\"x\""),
        ("aud", "\"x\""),
        ("jti", "\"x\""),
        ("user\\u005fid", "\"root\""),
    ] {
        malformed(&format!("{{\"{name}\":{value},{}", &whole[1..]));
    }
    malformed(&format!("{{\"x\":1,\"x\":1,{}", &whole[1..]));
    malformed(&format!("{{\"nbf\":1,\"nbf\":1,{}", &whole[1..]));
    let many: String = (0..65).map(|n| format!("\"x{n}\":1,")).collect();
    malformed(&format!("{{{many}{}", &whole[1..]));
}

#[test]
fn only_the_one_canonical_writing_of_a_token_is_taken() {
    let token = sign(&claims(), &key());
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts");
    };
    for changed in [
        format!("{token}="),
        format!("{token}\n"),
        format!(" {token}"),
        format!("{header}.{payload}.{signature}A"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!(".{header}.{payload}.{signature}"),
        String::new(),
        "..".to_owned(),
    ] {
        assert!(verifier().verify(&changed, NOW).is_err(), "{changed}");
    }
    // The last digit of the signature carries four bits; the two others must be 0.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for other in alphabet.chars().filter(|c| *c != last) {
        let changed = format!("{header}.{payload}.{}{other}", &signature[..42]);
        assert!(verifier().verify(&changed, NOW).is_err());
    }
    // A header or a payload that decodes alike but is written otherwise, signed as it stands.
    for (header, payload) in [
        (
            format!("{}=", URL_SAFE_NO_PAD.encode(HEADER)),
            payload.to_owned(),
        ),
        (URL_SAFE_NO_PAD.encode(HEADER), format!("{payload}==")),
        (URL_SAFE_NO_PAD.encode(HEADER), format!("{payload}\n")),
    ] {
        let input = format!("{header}.{payload}");
        let signature = jsonwebtoken::crypto::sign(
            input.as_bytes(),
            &EncodingKey::from_secret(SECRET),
            Algorithm::HS256,
        )
        .unwrap();
        let error = verifier()
            .verify(&format!("{input}.{signature}"), NOW)
            .unwrap_err();
        assert!(matches!(error, TokenError::Base64(_)), "{error}");
    }
}

#[test]
fn a_token_over_16_kib_is_refused_before_it_is_read() {
    let long = Claims {
        email: "x".repeat(MAX_TOKEN_BYTES),
        ..claims()
    };
    let token = sign(&long, &key());
    refused(&token, &TokenError::TooLong(token.len()));
    refused(
        &"a".repeat(MAX_TOKEN_BYTES + 1),
        &TokenError::TooLong(MAX_TOKEN_BYTES + 1),
    );
}

#[test]
fn a_strict_token_has_issuer_audience_and_id() {
    let without = |name: &str| {
        signed(
            HEADER,
            &payload_with(|payload| {
                payload.remove(name);
            }),
            SECRET,
        )
    };
    refused(&without("iss"), &TokenError::Missing("iss"));
    refused(&without("aud"), &TokenError::Missing("aud"));
    refused(&without("jti"), &TokenError::Missing("jti"));
    let with = |name: &str, value: Value| {
        signed(
            HEADER,
            &payload_with(|payload| {
                payload.insert(name.to_owned(), value);
            }),
            SECRET,
        )
    };
    refused(&with("iss", json!("other")), &TokenError::Issuer);
    refused(&with("aud", json!("other")), &TokenError::Audience);
    refused(&with("aud", json!(["other"])), &TokenError::Audience);
    refused(&with("nbf", json!(NOW + 31)), &TokenError::NotYet);
    assert!(
        verifier()
            .verify(&with("aud", json!(["other", "logs"])), NOW)
            .is_ok()
    );
    assert!(
        verifier()
            .verify(&with("nbf", json!(NOW + 30)), NOW)
            .is_ok()
    );
    assert!(
        verifier()
            .verify(&with("anything", json!({"a": [1]})), NOW)
            .is_ok()
    );
}

#[test]
fn a_token_of_the_platform_carries_only_what_the_original_shows() {
    let payload = json!({
        "iat": NOW, "exp": NOW + 60, "user_id": "12203", "email": "linyzbj@cn.linyz.net",
        "role": ["cloud", "tenant", "user"],
        "access": [{"method": ["GET", "POST", "DELETE"], "url": ["[mscp_api_url]/[region]/system/log"], "other": {}}],
    })
    .to_string();
    let token = signed(r#"{"typ":"JWT","alg":"HS256"}"#, &payload, SECRET);
    let other = Key::new("p0", &[1; 32]).unwrap();
    let platform = Verifier::platform(vec![other, Key::new("p1", SECRET).unwrap()]);
    let verified = platform.verify(&token, NOW).unwrap();
    assert_eq!((verified.kid.as_str(), verified.platform), ("p1", true));
    assert_eq!(verified.subject(), "platform:12203");
    assert!(!verified.is_root());
    // Keys of our own are not tried for it, nor platform keys for a name they have not.
    refused(&token, &TokenError::NoKeyId);
    let named = signed(HEADER, &payload, SECRET);
    assert_eq!(platform.verify(&named, NOW), Err(TokenError::UnknownKey));
    // At most eight are tried.
    let keys =
        |n: usize| (0..n).map(|n| Key::new(format!("p{n}"), &[n.try_into().unwrap(); 32]).unwrap());
    let nine = keys(8).chain([Key::new("p8", SECRET).unwrap()]).collect();
    assert_eq!(
        Verifier::platform(nine).verify(&token, NOW),
        Err(TokenError::Signature)
    );
}

#[test]
fn a_root_token_has_no_access_and_an_empty_one_grants_nothing() {
    let root = Claims {
        access: None,
        ..claims()
    };
    let token = sign(&root, &key());
    assert!(verifier().verify(&token, NOW).unwrap().is_root());
    let (base, path) = (
        Base::new("/api", None).unwrap(),
        CanonicalPath::parse("/api/r1/log/x").unwrap(),
    );
    let decide = |access: Option<Access>| {
        let token = sign(&Claims { access, ..claims() }, &key());
        let request = Request {
            method: Method::Get,
            path: &path,
        };
        let mut scratch = Vec::new();
        verifier()
            .authorize(&token, NOW, &base, request, &mut scratch)
            .unwrap()
            .decision
    };
    assert_eq!(decide(None), None);
    assert_eq!(decide(Some(Access::default())), Some(Decision::Denied));
}

#[test]
fn no_secret_is_ever_shown() {
    let shown = format!("{:?} {:?}", key(), verifier());
    assert!(!shown.contains("0123456789"), "{shown}");
    assert!(!shown.contains("48, 49, 50"), "{shown}");
    assert!(!shown.to_lowercase().contains("mac"), "{shown}");
}

#[test]
fn a_short_secret_is_refused_when_it_is_loaded() {
    assert_eq!(
        Key::new("k", &[0; 31]).unwrap_err(),
        KeyError::Short {
            kid: "k".to_owned(),
            bytes: 31
        }
    );
    assert!(Key::new("", &[0; 32]).is_err());
    assert!(Key::new("k".repeat(129), &[0; 32]).is_err());
}
