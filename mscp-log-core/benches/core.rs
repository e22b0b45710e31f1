//! What a request costs before anything is done for it: a token verified and
//! an access decided, beside the peer that a service would pick instead.
#![allow(missing_docs, reason = "a benchmark's functions are its table's rows")]

use divan::Bencher;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use mscp_log_core::access::{Base, CanonicalPath, Method};
use mscp_log_core::token::{Claims, Key, Policy, Request, Verifier, sign};
use serde_json::json;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_516_792_419;

fn main() {
    divan::main();
}

/// About 1,110 bytes, with four rules: the size of tokens in use.
fn token() -> String {
    let access = json!([
        {"method": ["GET", "POST"], "url": ["{mscp_api_url}/{region}/log/_search", "{mscp_api_url}/{region}/log/*/_search"], "other": {}},
        {"method": ["POST"], "url": ["{mscp_api_url}/apps/{appid:UUID}/log"], "other": {}},
        {"method": ["GET"], "url": ["{mscp_api_url}/{region}/system/log/status"], "other": {}},
        {"method": ["GET", "POST", "DELETE"], "url": ["{mscp_api_url}/{region}/system/log"], "other": {}},
    ]);
    let claims = Claims {
        iat: NOW,
        exp: NOW + 3600,
        user_id: "12203".to_owned(),
        email: "linyzbj@cn.linyz.net".to_owned(),
        role: ["cloud", "tenant", "user"].map(str::to_owned).to_vec(),
        access: Some(
            access
                .to_string()
                .parse()
                .expect("the rules are well-formed"),
        ),
        iss: Some("mscp-log".to_owned()),
        aud: Some("mscp-log".to_owned()),
        jti: Some("0199c4f5-7d1e-7c3a-9d52-5a9f0d6f8e11".to_owned()),
    };
    let token = sign(&claims, &key());
    debug_assert!((1_000..1_200).contains(&token.len()));
    token
}

fn key() -> Key {
    Key::new("0199c4f5", SECRET).expect("the secret has 32 bytes")
}

fn verifier() -> Verifier {
    let policy = Policy::Strict {
        issuer: "mscp-log".to_owned(),
        audience: "mscp-log".to_owned(),
    };
    Verifier::new(vec![key()], policy, 30)
}

fn path() -> CanonicalPath {
    CanonicalPath::parse("/api/local/log/_search").expect("the path is canonical")
}

#[divan::bench]
fn token_verify_and_decide(bencher: Bencher<'_, '_>) {
    let (token, verifier, path) = (token(), verifier(), path());
    let base = Base::new("/api", None).expect("the base is a path");
    let mut scratch = Vec::new();
    bencher.bench_local(|| {
        let request = Request {
            method: Method::Get,
            path: divan::black_box(&path),
        };
        let authorized =
            verifier.authorize(divan::black_box(&token), NOW, &base, request, &mut scratch);
        divan::black_box(authorized.is_ok_and(|a| a.decision.is_some_and(|d| d.is_allowed())))
    });
}

#[divan::bench]
fn token_verify_and_decide_owned(bencher: Bencher<'_, '_>) {
    let (token, verifier, path) = (token(), verifier(), path());
    let base = Base::new("/api", None).expect("the base is a path");
    bencher.bench_local(|| {
        let verified = verifier.verify(divan::black_box(&token), NOW);
        let access = verified.ok().and_then(|verified| verified.claims.access);
        divan::black_box(access.is_some_and(|a| a.decide(&base, Method::Get, &path).is_allowed()))
    });
}

#[divan::bench]
fn token_peer_jsonwebtoken_decode(bencher: Bencher<'_, '_>) {
    #[derive(Clone, serde::Deserialize)]
    #[allow(dead_code, reason = "what a service would read")]
    struct Peer {
        iat: i64,
        exp: i64,
        user_id: String,
        email: String,
        role: Vec<String>,
        access: Vec<PeerRule>,
    }
    #[derive(Clone, serde::Deserialize)]
    #[allow(dead_code, reason = "what a service would read")]
    struct PeerRule {
        method: Vec<String>,
        url: Vec<String>,
        other: serde_json::Value,
    }
    peer::<Peer>(bencher);
}

/// The same, where a service does not write the claims down as a type.
#[divan::bench]
fn token_peer_jsonwebtoken_decode_value(bencher: Bencher<'_, '_>) {
    peer::<serde_json::Value>(bencher);
}

fn peer<T: serde::de::DeserializeOwned + Clone>(bencher: Bencher<'_, '_>) {
    let token = token();
    let key = DecodingKey::from_secret(SECRET);
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.set_audience(&["mscp-log"]);
    bencher.bench_local(|| {
        let decoded = jsonwebtoken::decode::<T>(divan::black_box(&token), &key, &validation);
        divan::black_box(decoded.is_ok())
    });
}

#[divan::bench]
fn token_hmac_alone(bencher: Bencher<'_, '_>) {
    let token = token();
    let keyed = Hmac::<sha2::Sha256>::new_from_slice(SECRET).expect("any key length will do");
    bencher.bench_local(|| {
        let mut mac = keyed.clone();
        mac.update(divan::black_box(token.as_bytes()));
        mac.finalize().into_bytes()
    });
}

#[divan::bench]
fn path_canonical(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| CanonicalPath::parse(divan::black_box("/api/local/log/_search")));
}
