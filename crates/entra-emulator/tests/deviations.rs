//! Every deviation, judged by entra-token: the token that differs is refused for the reason that
//! the deviation names, and the one that does not is accepted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::HashSet;
use std::path::Path;

use entra_emulator::token::SubjectKind;
use entra_emulator::{
    Authority, Deviation, Directory, SigningKeys, Subject, TokenRequest, TokenVersion, mint,
};
use entra_token::{
    Audience, Cloud, Envelope, KeySet, Mapping, Policy, PrincipalKind, Reason, judge,
};
use uuid::Uuid;

const HOST: &str = "https://localhost:8443";
const AUDIENCE: &str = "api://aada0000-0000-4000-8000-000000000050";
const AUDIENCE_ID: &str = "aada0000-0000-4000-8000-000000000050";
const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
const DBA: &str = "dba00000-0000-4000-8000-000000000010";
const REPORTING: &str = "4e904700-0000-4000-8000-000000000021";
const NOW: i64 = 1_800_000_000;

/// What checks a token at sign-in, put together as a server does.
struct Verifier {
    policy: Policy,
    sets: Vec<KeySet>,
}

impl Verifier {
    fn new(keys: &SigningKeys, tenant: Uuid) -> Verifier {
        let authority = entra_token::Authority::new(Cloud::Public, Some(HOST)).unwrap();
        let audiences = Audience::parse_list(&format!("{AUDIENCE}, {AUDIENCE_ID}"), Cloud::Public);
        let sets = [entra_token::TokenVersion::V1, entra_token::TokenVersion::V2].map(|version| {
            let issuer = authority.issuer(version, tenant);
            let named = (version == entra_token::TokenVersion::V2).then_some(issuer.as_str());
            let json = keys.key_set(named).to_string();
            KeySet::from_jwks(version, &issuer, tenant, json.as_bytes()).unwrap()
        });
        Verifier {
            policy: Policy::new(tenant, authority, audiences.unwrap()),
            sets: sets.into(),
        }
    }

    fn decide(&self, mapping: &Mapping, token: &str) -> Result<(), Reason> {
        let envelope = Envelope::parse(token.as_bytes(), self.policy.max_token_size)?;
        let version = envelope.serving_version(&self.policy)?;
        let set = self.sets.iter().find(|set| set.version == version).unwrap();
        let key = set.find(envelope.key_id()).ok_or(Reason::KeyUnknown)?;
        let claims = envelope.verify(key)?;
        let membership = claims.membership(mapping.object_id);
        judge(&self.policy, mapping, &claims, membership, NOW)
            .refusal
            .map_or(Ok(()), Err)
    }
}

struct World {
    directory: Directory,
    keys: SigningKeys,
    verifier: Verifier,
}

impl World {
    fn new(state: &Path) -> World {
        let directory = Directory::built_in().unwrap();
        let keys = SigningKeys::open(state).unwrap();
        let verifier = Verifier::new(&keys, directory.tenants[0].id);
        World {
            directory,
            keys,
            verifier,
        }
    }

    fn mapping(&self, held: SubjectKind) -> Mapping {
        let (kind, object_id) = match held {
            SubjectKind::Any | SubjectKind::User | SubjectKind::UserWithMfa => {
                (PrincipalKind::User, ALICE)
            }
            SubjectKind::Group => (PrincipalKind::Group, DBA),
            SubjectKind::Service => (PrincipalKind::Service, REPORTING),
        };
        Mapping {
            kind,
            object_id: object_id.parse().unwrap(),
            tenant: self.directory.tenants[0].id,
            admin: false,
            mfa: held == SubjectKind::UserWithMfa,
        }
    }

    fn outcome(
        &self,
        held: SubjectKind,
        version: TokenVersion,
        deviation: Option<&'static Deviation>,
    ) -> Result<(), Reason> {
        let subject = match held {
            SubjectKind::Service => Subject::ServicePrincipal("reporting".to_owned()),
            _ => Subject::User("alice@contoso.com".to_owned()),
        };
        let request = TokenRequest {
            version: Some(version),
            deviations: deviation.into_iter().collect(),
            ..TokenRequest::new(subject, AUDIENCE, HOST.parse::<Authority>().unwrap(), NOW)
        };
        let token = mint(&self.directory, &self.keys, &request).unwrap();
        self.verifier.decide(&self.mapping(held), &token.text)
    }
}

#[test]
fn each_deviation_is_refused_for_its_reason() {
    let place = tempfile::tempdir().unwrap();
    let world = World::new(place.path());
    let mut wrong = Vec::new();
    for deviation in Deviation::all() {
        let expected = Reason::from_code(deviation.expected).expect(deviation.expected);
        for version in [TokenVersion::V1, TokenVersion::V2] {
            // v2 tokens prove no second factor: the good one is not accepted either.
            if deviation.held == SubjectKind::UserWithMfa && version == TokenVersion::V2 {
                continue;
            }
            assert_eq!(
                world.outcome(deviation.held, version, None),
                Ok(()),
                "good {version:?}"
            );
            let outcome = world.outcome(deviation.held, version, Some(deviation));
            if outcome != Err(expected) {
                wrong.push(format!(
                    "{} {version:?}: {outcome:?}, not {expected}",
                    deviation.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_unique() {
    let mut seen = HashSet::new();
    for deviation in Deviation::all() {
        assert!(seen.insert(deviation.name), "{}", deviation.name);
    }
}

/// Of the reasons that a token can give, those that no single deviation from a good one gives.
#[test]
fn every_reason_of_a_token_has_a_deviation() {
    // Issuer and tenant of a token with a valid signature are right by construction, unless the
    // role is another tenant's; v2 tokens are the ones that prove no second factor.
    let elsewhere = ["issuer-mismatch", "tenant-mismatch", "mfa-unprovable"];
    // What the server lacks, not the token.
    let server = [
        "signing-keys-unavailable",
        "worker-not-running",
        "key-refresh-cooling-down",
        "key-refresh-timed-out",
        "directory-unavailable",
        "directory-timed-out",
        "directory-busy",
    ];
    let covered: HashSet<&str> = Deviation::all().iter().map(|one| one.expected).collect();
    for reason in Reason::ALL {
        let step = reason.step() as u8;
        if (2..=9).contains(&step) {
            let code = reason.code();
            let exempt = elsewhere.contains(&code) || server.contains(&code);
            assert_ne!(covered.contains(code), exempt, "{code}");
        }
    }
}

#[test]
fn v2_tokens_prove_no_second_factor() {
    let place = tempfile::tempdir().unwrap();
    let world = World::new(place.path());
    assert_eq!(
        world.outcome(SubjectKind::UserWithMfa, TokenVersion::V1, None),
        Ok(())
    );
    assert_eq!(
        world.outcome(SubjectKind::UserWithMfa, TokenVersion::V2, None),
        Err(Reason::MfaUnprovable)
    );
}
