//! Project Wycheproof's vectors for JSON Web Signatures and their keys.
//!
//! We verify RS256 and nothing else, so of the valid vectors those of other algorithms must be
//! refused as well.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use entra_token::{Envelope, Jws, Policy, Reason, SigningKey};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Group {
    comment: String,
    jwks: Value,
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    tc_id: u32,
    comment: String,
    jws: String,
    result: String,
}

/// What became of the vectors of a file.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    run: usize,
    accepted: Vec<u32>,
    valid_but_not_rs256: usize,
    invalid: usize,
}

fn judge(vector: &Vector, jwks: &Value) -> Result<(), Reason> {
    let keys = SigningKey::read_all(jwks.to_string().as_bytes())
        .map_err(|_| Reason::SigningKeysUnavailable)?;
    let jws = Jws::parse(vector.jws.as_bytes(), Policy::LARGEST_TOKEN_SIZE)?;
    let key = keys
        .iter()
        .find(|key| key.key_id == jws.key_id())
        .ok_or(Reason::KeyUnknown)?;
    jws.verify(key)
}

fn run(file: &str) -> Tally {
    let groups: Vec<Group> = serde_json::from_str(file).unwrap();
    let mut tally = Tally::default();
    for group in &groups {
        for vector in &group.tests {
            let outcome = judge(vector, &group.jwks);
            let name = format!("{} ({}, {})", vector.tc_id, group.comment, vector.comment);
            tally.run += 1;
            let is_rs256 = header_alg(&vector.jws).as_deref() == Some("RS256");
            match (vector.result.as_str(), is_rs256) {
                ("valid", true) => {
                    assert_eq!(outcome, Ok(()), "{name}");
                    tally.accepted.push(vector.tc_id);
                }
                ("valid", false) => {
                    assert!(outcome.is_err(), "{name}");
                    tally.valid_but_not_rs256 += 1;
                }
                ("invalid", _) => {
                    assert!(outcome.is_err(), "{name}");
                    tally.invalid += 1;
                }
                (result, _) => panic!("{name}: {result}"),
            }
            // None of them is a claim set, and most lack a `typ`.
            assert!(
                Envelope::parse(vector.jws.as_bytes(), 64 * 1024).is_err(),
                "{name}"
            );
        }
    }
    tally
}

/// Read with another parser than the one under test.
fn header_alg(jws: &str) -> Option<String> {
    use base64::Engine;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(jws.split('.').next()?);
    let header: Value = serde_json::from_slice(&header.ok()?).ok()?;
    Some(header.get("alg")?.as_str()?.to_owned())
}

#[test]
fn signatures() {
    let tally = run(include_str!("../wycheproof/json_web_signature.json"));
    assert_eq!(
        tally,
        Tally {
            run: 401,
            accepted: vec![33, 259, 260, 261, 262, 263, 345, 349],
            valid_but_not_rs256: 38,
            invalid: 355,
        }
    );
}

/// Among them keys for other uses, of 1024 bits, with the exponent 1, and with the weakness of
/// CVE-2017-15361.
#[test]
fn keys() {
    let tally = run(include_str!("../wycheproof/json_web_key.json"));
    assert_eq!(
        tally,
        Tally {
            run: 26,
            accepted: vec![5],
            valid_but_not_rs256: 4,
            invalid: 21
        }
    );
}
