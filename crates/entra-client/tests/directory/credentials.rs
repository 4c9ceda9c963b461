//! What the server proves to Entra who it is with.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use entra_api::{CredentialSource, DirectoryError, DirectorySettings, ErrorKind};
use entra_client::Directory;
use entra_emulator::federation::{ForeignIssuers, ForeignToken};
use entra_emulator::state::StateDirectory;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};
use serde_json::Value;
use uuid::Uuid;

use crate::emulator::{Emulator, SERVER, TENANT, soon};
use crate::rig::{CLIENT, SENTINEL, graph, is_token_request, secret_file, settings};
use crate::server::{Reply, Server};

fn probe(settings: DirectorySettings) -> Result<(), DirectoryError> {
    Directory::new(settings)?.probe(soon())
}

fn nobody() -> Reply {
    Reply::json(r#"{"value":[]}"#)
}

/// The fields of the form that Entra was sent, decoded.
fn form(server: &Server) -> Vec<(String, String)> {
    let asked = server.asked();
    let asked = asked.iter().find(|asked| is_token_request(asked)).unwrap();
    assert_eq!(asked.method, "POST");
    let kind = &asked.headers["content-type"];
    assert_eq!(kind, "application/x-www-form-urlencoded");
    let url = reqwest::Url::parse(&format!("https://x/?{}", asked.body)).unwrap();
    url.query_pairs().into_owned().collect()
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    let mut values = form.iter().filter(|(key, _)| key == name);
    let (_, value) = values.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(values.next().is_none());
    value
}

#[test]
fn a_secret_is_sent_and_good() {
    let emulator = Emulator::start();
    probe(emulator.settings()).unwrap();
    // Whatever is in it arrives.
    let server = graph(|_| nobody());
    let mut settings = settings(&server);
    let content = "a+b&c=d%20e~'\"#";
    let path = secret_file(server.authority.path(), "odd", &format!("{content}\n"));
    settings.credential = CredentialSource::ClientSecret(path);
    probe(settings).unwrap();
    let form = form(&server);
    assert_eq!(field(&form, "client_secret"), content);
    assert_eq!(field(&form, "client_id"), CLIENT.to_string());
    assert_eq!(field(&form, "grant_type"), "client_credentials");
    assert_eq!(
        field(&form, "scope"),
        "https://graph.microsoft.com/.default"
    );
    assert_eq!(form.len(), 4);
}

#[test]
fn what_entra_refuses_is_named_by_its_number() {
    let emulator = Emulator::start();
    let good = emulator.settings();
    let wrong = emulator.secret_file("wrong", SENTINEL);
    let unknown = DirectorySettings {
        client_id: Some(CLIENT),
        ..good.clone()
    };
    let elsewhere = DirectorySettings {
        tenant: Uuid::from_u128(7),
        ..good.clone()
    };
    let wrong = emulator.settings_with(Some(SERVER), CredentialSource::ClientSecret(wrong));
    for (settings, number) in [
        (wrong, "AADSTS7000215"),
        (unknown, "AADSTS700016"),
        (elsewhere, "AADSTS90002"),
    ] {
        let error = probe(settings).unwrap_err();
        assert_eq!(error.kind, ErrorKind::CredentialRefused, "{error}");
        assert!(error.message.contains(number), "{error}");
        assert!(!error.message.contains(SENTINEL), "{error}");
    }
}

#[test]
fn a_file_that_others_can_read_is_not_used() {
    let server = graph(|_| nobody());
    for source in [
        CredentialSource::ClientSecret,
        CredentialSource::ClientCertificate,
        CredentialSource::WorkloadIdentity,
    ] {
        let path = secret_file(server.authority.path(), "open", SENTINEL);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let mut settings = settings(&server);
        settings.credential = source(path);
        let error = probe(settings).unwrap_err();
        assert_eq!(error.kind, ErrorKind::CredentialUnusable);
        assert!(error.message.contains("group or world access"), "{error}");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_client_id_is_needed() {
    let server = graph(|_| nobody());
    let settings = DirectorySettings {
        client_id: None,
        ..settings(&server)
    };
    let error = Directory::new(settings).map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::CredentialUnusable);
    assert!(error.message.contains("aadauth.client_id"), "{error}");
}

/// A certificate and its key, in PEM, and their public key.
struct Certificate {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Certificate {
    fn new(key: KeyPair) -> Certificate {
        let parameters = CertificateParams::new(["aadauth".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Certificate { certificate, key }
    }

    fn rsa() -> Certificate {
        Certificate::new(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap())
    }
}

fn with_certificate(server: &Server, content: &str) -> DirectorySettings {
    let path = secret_file(server.authority.path(), "certificate.pem", content);
    DirectorySettings {
        credential: CredentialSource::ClientCertificate(path),
        ..settings(server)
    }
}

#[test]
fn a_certificate_is_proved_by_a_short_assertion() {
    let own = Certificate::rsa();
    let other = Certificate::rsa();
    let server = graph(|_| nobody());
    // The other certificate stands for the rest of a chain.
    let content = format!(
        "{}{}{}",
        other.certificate.pem(),
        own.key.serialize_pem(),
        own.certificate.pem()
    );
    probe(with_certificate(&server, &content)).unwrap();
    let form = form(&server);
    assert_eq!(
        field(&form, "client_assertion_type"),
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    assert_eq!(field(&form, "client_id"), CLIENT.to_string());
    assert_eq!(form.len(), 5);

    let assertion = field(&form, "client_assertion");
    let parts: Vec<_> = assertion.split('.').collect();
    assert_eq!(parts.len(), 3);
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let json = |part: &str| serde_json::from_slice::<Value>(&decode(part)).unwrap();
    let header = json(parts[0]);
    let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, own.certificate.der()));
    assert_eq!(
        header,
        serde_json::json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint})
    );
    let claims = json(parts[1]);
    assert_eq!(
        claims["aud"],
        format!("{}/{TENANT}/oauth2/v2.0/token", server.url())
    );
    assert_eq!(claims["iss"], CLIENT.to_string());
    assert_eq!(claims["sub"], CLIENT.to_string());
    Uuid::try_parse(claims["jti"].as_str().unwrap()).unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    assert!((claims["nbf"].as_i64().unwrap() - now).abs() < 60);
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap(),
        300
    );

    let message = assertion.rsplit_once('.').unwrap().0;
    let public = own.key.subject_public_key_info();
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public)
        .verify(message.as_bytes(), &decode(parts[2]))
        .unwrap();
}

#[test]
fn a_key_in_its_older_form_is_one_as_well() {
    let own = Certificate::rsa();
    // RFC 5208 puts that of RFC 8017 behind a head of 26 bytes.
    let key = STANDARD.encode(&own.key.serialize_der()[26..]);
    let label = "RSA PRIVATE KEY";
    let content = format!(
        "-----BEGIN {label}-----\n{key}\n-----END {label}-----\n{}",
        own.certificate.pem()
    );
    let server = graph(|_| nobody());
    probe(with_certificate(&server, &content)).unwrap();
}

#[test]
fn the_emulator_takes_a_certificate_for_what_it_is() {
    let own = Certificate::rsa();
    let application = |certificate: &Certificate| {
        format!(
            "[[tenant.application]]\nname = \"signer\"\nclient_id = \"{CLIENT}\"\n\
             oid = \"519e4000-0000-4000-8000-000000000001\"\n\
             graph_permissions = [\"User.Read.All\", \"GroupMember.Read.All\", \"Application.Read.All\"]\n\
             certificates = ['''{}''']\n",
            certificate.certificate.pem()
        )
    };
    let probe_with = |emulator: &Emulator| {
        let content = own.certificate.pem() + &own.key.serialize_pem();
        let path = emulator.secret_file("own.pem", &content);
        let source = CredentialSource::ClientCertificate(path);
        probe(emulator.settings_with(Some(CLIENT), source))
    };
    probe_with(&Emulator::with_more(&application(&own))).unwrap();
    let error = probe_with(&Emulator::with_more(&application(&Certificate::rsa()))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::CredentialRefused);
    assert!(error.message.contains("AADSTS700027"), "{error}");
}

#[test]
fn the_emulator_takes_a_token_of_an_issuer_that_it_trusts() {
    let emulator = Emulator::start();
    let state = StateDirectory::open(emulator.state.path()).unwrap();
    let issuers = ForeignIssuers::open(&state).unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    for (subject, number) in [
        ("system:serviceaccount:databases:postgresql", None),
        (
            "system:serviceaccount:databases:other",
            Some("AADSTS700213"),
        ),
    ] {
        let token = ForeignToken {
            issuer: "https://kubernetes.example.com",
            subject,
            audience: "api://AzureADTokenExchange",
            issued_at: now,
            expires_on: now + 600,
        };
        let path = emulator.secret_file("federated", &issuers.sign(&token).unwrap());
        let source = CredentialSource::WorkloadIdentity(path);
        match (probe(emulator.settings_with(Some(SERVER), source)), number) {
            (Ok(()), None) => {}
            (Err(error), Some(number)) => {
                assert_eq!(error.kind, ErrorKind::CredentialRefused);
                assert!(error.message.contains(number), "{error}");
            }
            (outcome, _) => panic!("{subject}: {outcome:?}"),
        }
    }
}

#[test]
fn an_assertion_is_used_once() {
    let own = Certificate::rsa();
    let asked = AtomicUsize::new(0);
    let server = graph(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(401),
        _ => nobody(),
    });
    let content = own.certificate.pem() + &own.key.serialize_pem();
    let directory = Directory::new(with_certificate(&server, &content)).unwrap();
    let _ = directory.find_by_app_id(CLIENT, soon());
    let mut bodies: Vec<_> = server
        .asked()
        .into_iter()
        .filter(is_token_request)
        .map(|asked| asked.body)
        .collect();
    assert_eq!(bodies.len(), 2);
    bodies.dedup();
    assert_eq!(bodies.len(), 2);
}

#[test]
fn a_certificate_file_that_is_none_is_named() {
    let server = graph(|_| nobody());
    let own = Certificate::rsa();
    let other = Certificate::rsa();
    let elliptic = Certificate::new(KeyPair::generate().unwrap());
    let (certificate, key) = (own.certificate.pem(), own.key.serialize_pem());
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (content, expected) in [
        (String::new(), "holds no private key"),
        (certificate.clone(), "holds no private key"),
        (key.clone(), "holds no certificate"),
        (certificate.clone() + &encrypted, "is encrypted"),
        (
            format!("{certificate}{key}{key}"),
            "more than one private key",
        ),
        (
            certificate.clone() + &other.key.serialize_pem(),
            "does not belong to its certificate",
        ),
        (
            elliptic.certificate.pem() + &elliptic.key.serialize_pem(),
            "is not an RSA key",
        ),
        (certificate + &key.replace('M', "*"), "not base64"),
        (
            include_str!("data/weak.pem").to_owned(),
            "is not an RSA key of 2048",
        ),
    ] {
        let error = probe(with_certificate(&server, &content)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::CredentialUnusable);
        assert!(error.message.contains(expected), "{expected}: {error}");
        assert!(error.message.contains("certificate.pem"), "{error}");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_federated_token_is_read_again_for_each_token() {
    let asked = AtomicUsize::new(0);
    let server = graph(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        1 => Reply::status(401),
        _ => nobody(),
    });
    let path = secret_file(server.authority.path(), "federated", "first.token");
    let mut settings = settings(&server);
    settings.credential = CredentialSource::WorkloadIdentity(path.clone());
    let directory = Directory::new(settings).unwrap();
    let _ = directory.find_by_app_id(CLIENT, soon());
    let form = form(&server);
    assert_eq!(field(&form, "client_assertion"), "first.token");
    assert_eq!(
        field(&form, "client_assertion_type"),
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    assert_eq!(form.len(), 5);
    // Graph refuses the token, so there is another one, of another proof.
    replace(&path, "second.token");
    let _ = directory.find_by_app_id(CLIENT, soon());
    let last = server.asked().into_iter().rfind(is_token_request).unwrap();
    assert!(last.body.contains("second.token"));
    assert_eq!(
        server
            .asked()
            .iter()
            .filter(|asked| is_token_request(asked))
            .count(),
        2
    );
}

/// Writes beside and renames, as the rotation of a secret does.
fn replace(path: &Path, content: &str) {
    let beside = secret_file(path.parent().unwrap(), "beside", content);
    std::fs::rename(beside, path).unwrap();
}
