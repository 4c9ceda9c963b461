//! Applications that prove themselves with a certificate, or with a token of an issuer whom they
//! trust.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair, RsaKeySize};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json as value};

use crate::emulator::{AUDIENCE, Emulator, TENANT, json, part};

const SIGNER: &str = "51640000-0000-4000-8000-000000000090";
const SIGNER_OID: &str = "51640000-0000-4000-8000-000000000091";
const SERVER: &str = "aada5e4e-0000-4000-8000-000000000070";
const ISSUER: &str = "https://kubernetes.example.com";
const SUBJECT: &str = "system:serviceaccount:databases:postgresql";
const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A key with a certificate of its own.
struct Identity {
    pem: String,
    der: Vec<u8>,
    key: rsa::KeyPair,
}

impl Identity {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut parameters = CertificateParams::default();
        change(&mut parameters);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Identity {
            der: CertificateDer::from_pem_slice(pem.as_bytes())
                .unwrap()
                .to_vec(),
            key: rsa::KeyPair::from_pkcs8(key.serialized_der()).unwrap(),
            pem,
        }
    }

    fn thumbprint(&self, algorithm: &'static digest::Algorithm) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(algorithm, &self.der))
    }

    /// RS256 with a SHA-1 thumbprint, as Python's library does.
    fn header(&self) -> Value {
        value!({ "alg": "RS256", "typ": "JWT", "x5t": self.thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY) })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let encoding: &'static dyn RsaEncoding = match header["alg"].as_str() {
            Some("PS256") => &RSA_PSS_SHA256,
            _ => &RSA_PKCS1_SHA256,
        };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                encoding,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// An emulator whose directory has the application `signer` with these certificates. The first is
/// in a file beside the directory file, the others are in it.
fn with_certificates(identities: &[&Identity]) -> Emulator {
    let state = tempfile::tempdir().unwrap();
    let place = state.path().join("directory");
    std::fs::create_dir(&place).unwrap();
    let mut certificates = String::new();
    for (number, identity) in identities.iter().enumerate() {
        if number == 0 {
            std::fs::write(place.join("signer.pem"), &identity.pem).unwrap();
            certificates += "\"signer.pem\", ";
        } else {
            certificates += &format!("'''{}''', ", identity.pem);
        }
    }
    let application = format!(
        "  [[tenant.application]]\n  name = \"signer\"\n  client_id = \"{SIGNER}\"\n  \
         oid = \"{SIGNER_OID}\"\n  certificates = [{certificates}]\n\n"
    );
    let marker = "  [[tenant.application]]\n";
    let text = entra_emulator::directory::BUILT_IN.replacen(marker, &(application + marker), 1);
    let file = place.join("world.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    Emulator::start_on(state, &["--directory", &file])
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn claims(emulator: &Emulator) -> Value {
    value!({
        "aud": format!("{}/{TENANT}/oauth2/v2.0/token", emulator.running.authority),
        "iss": SIGNER,
        "sub": SIGNER,
        "jti": "22b3bb26-e046-42df-9c96-65dbd72c1c81",
        "nbf": now(),
        "exp": now() + 600,
    })
}

fn ask(emulator: &Emulator, client: &str, assertion: &str) -> Value {
    let form = format!(
        "grant_type=client_credentials&client_id={client}&client_assertion_type={TYPE}\
         &client_assertion={assertion}&scope={AUDIENCE}/.default"
    );
    json(emulator.post(&format!("/{TENANT}/oauth2/v2.0/token"), &form))
}

fn code(answer: &Value) -> u64 {
    assert!(answer.get("access_token").is_none());
    let text = answer["error_description"].as_str().unwrap();
    let code = answer["error_codes"][0]
        .as_u64()
        .unwrap_or_else(|| panic!("{answer}"));
    assert!(text.starts_with(&format!("AADSTS{code}: ")), "{text}");
    code
}

fn lines(der: &[u8]) -> String {
    let mut text = STANDARD.encode(der);
    text.insert(64, '\n');
    text
}

#[test]
fn certificates_prove_an_application() {
    let (first, second) = (Identity::new(|_| ()), Identity::new(|_| ()));
    let emulator = with_certificates(&[&first, &second]);
    let claims = claims(&emulator);
    let sha1 = first.thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    let sha256 = second.thumbprint(&digest::SHA256);
    for (identity, header) in [
        (&first, first.header()),
        // With padding, and with the certificate itself, as some clients send them.
        (
            &first,
            value!({ "alg": "RS256", "x5t": format!("{sha1}="), "x5c": [STANDARD.encode(&first.der)] }),
        ),
        (
            &second,
            value!({ "alg": "PS256", "typ": "JWT", "x5t#S256": sha256 }),
        ),
        (
            &second,
            // With the line breaks of the PEM text, as Python's library sends it.
            value!({ "alg": "PS256", "x5t#S256": sha256, "x5c": lines(&second.der) }),
        ),
    ] {
        let answer = ask(&emulator, SIGNER, &identity.sign(&header, &claims));
        let token = answer["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"));
        let claims = part(token, 1);
        assert_eq!(claims["oid"], SIGNER_OID);
        assert_eq!(claims["appidacr"], "2");
    }
    let mut other = claims.clone();
    // Fractions of seconds, as Python's library sends them.
    other["exp"] = value!(600.5 + f64::from(u32::try_from(now()).unwrap()));
    other["aud"] = value!(format!("{}/{TENANT}/v2.0", emulator.running.authority));
    let answer = ask(&emulator, SIGNER, &first.sign(&first.header(), &other));
    assert!(answer["access_token"].is_string(), "{answer}");
}

#[test]
fn wrong_assertions_are_refused_as_entra_does() {
    let (own, stranger) = (Identity::new(|_| ()), Identity::new(|_| ()));
    let past = Identity::new(|parameters| {
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let emulator = with_certificates(&[&own, &past]);
    let good = claims(&emulator);
    let refused = |assertion: &str| code(&ask(&emulator, SIGNER, assertion));
    let with = |claim: &str, wrong: Value| {
        let mut claims = good.clone();
        claims[claim] = wrong;
        refused(&own.sign(&own.header(), &claims))
    };
    let other = "00000000-0000-4000-8000-000000000000";
    assert_eq!(with("exp", value!(now() - 301)), 700_024);
    assert_eq!(with("exp", Value::Null), 700_024);
    assert_eq!(with("nbf", value!(now() + 400)), 700_024);
    assert_eq!(
        with(
            "aud",
            value!("https://login.microsoftonline.com/x/oauth2/v2.0/token")
        ),
        700_023
    );
    assert_eq!(with("aud", Value::Null), 700_023);
    assert_eq!(with("iss", value!(other)), 700_021);
    assert_eq!(with("sub", value!(other)), 50048);
    assert_eq!(with("sub", Value::Null), 50027);
    assert_eq!(with("jti", Value::Null), 50027);

    let header = |wrong: Value| refused(&own.sign(&wrong, &good));
    let sha1 = own.thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    assert_eq!(header(value!({ "alg": "RS256" })), 50027);
    assert_eq!(header(value!({ "alg": "RS384", "x5t": sha1 })), 50027);
    assert_eq!(header(value!({ "alg": "none", "x5t": sha1 })), 50027);
    // Says PS256 and has an RS256 signature, or the other way about.
    let genuine = own.sign(&own.header(), &good);
    let (_, signature) = genuine.rsplit_once('.').unwrap();
    let lied = own.sign(&value!({ "alg": "PS256", "x5t": sha1 }), &good);
    let (message, _) = lied.rsplit_once('.').unwrap();
    assert_eq!(refused(&format!("{message}.{signature}")), 700_027);
    let carried = STANDARD.encode(&stranger.der);
    assert_eq!(
        header(value!({ "alg": "RS256", "x5t": sha1, "x5c": [carried] })),
        700_027
    );

    // Another's key under our thumbprint, another's key, our expired certificate.
    assert_eq!(refused(&stranger.sign(&own.header(), &good)), 700_027);
    assert_eq!(refused(&stranger.sign(&stranger.header(), &good)), 700_027);
    assert_eq!(refused(&past.sign(&past.header(), &good)), 700_027);
    assert_eq!(refused("nonsense"), 50027);
    let mut of_server = good.clone();
    of_server["iss"] = value!(SERVER);
    of_server["sub"] = value!(SERVER);
    let answer = ask(&emulator, SERVER, &own.sign(&own.header(), &of_server));
    assert_eq!(code(&answer), 700_026);
    let form = format!(
        "grant_type=client_credentials&client_id={SIGNER}&client_assertion_type=saml\
         &client_assertion={genuine}&scope={AUDIENCE}/.default"
    );
    let answer = json(emulator.post(&format!("/{TENANT}/oauth2/v2.0/token"), &form));
    assert_eq!(code(&answer), 90023);
    assert!(ask(&emulator, SIGNER, &genuine)["access_token"].is_string());
}

#[test]
fn directory_files_name_certificates_that_are_there() {
    let state = tempfile::tempdir().unwrap();
    for (certificate, wanted) in [
        ("none.pem", "cannot read"),
        (
            "-----BEGIN NOTHING-----",
            "there is no PEM certificate in it",
        ),
    ] {
        let text = entra_emulator::directory::BUILT_IN.replacen(
            "secrets = [\"reporting-secret\"]",
            &format!("certificates = [\"{certificate}\"]"),
            1,
        );
        let file = state.path().join("world.toml");
        std::fs::write(&file, text).unwrap();
        let refused = crate::emulator::run(
            state.path(),
            &["token"],
            &[
                "--user",
                "alice@contoso.com",
                "--directory",
                file.to_str().unwrap(),
            ],
        );
        let problem = String::from_utf8(refused.stderr).unwrap();
        assert!(
            problem.contains(wanted) && problem.contains("certificates: "),
            "{problem}"
        );
    }
}

fn foreign(emulator: &Emulator, words: &[&str]) -> String {
    let mut all = vec!["--issuer", ISSUER, "--subject", SUBJECT];
    for pair in words.chunks(2) {
        match all.iter().position(|word| *word == pair[0]) {
            Some(place) => all[place + 1] = pair[1],
            None => all.extend(pair),
        }
    }
    let output = emulator.run(&["federated-token"], &all);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn tokens_of_trusted_issuers_prove_an_application() {
    let emulator = Emulator::start();
    // Before the emulator ever signed one, nothing is one.
    let early = Identity::new(|_| ());
    let claims = value!({ "iss": ISSUER, "sub": SUBJECT, "aud": "api://AzureADTokenExchange",
        "exp": now() + 600 });
    let invented = early.sign(&value!({ "alg": "RS256" }), &claims);
    assert_eq!(code(&ask(&emulator, SERVER, &invented)), 50013);

    let good = foreign(&emulator, &[]);
    let answer = ask(&emulator, SERVER, &good);
    let claims = part(
        answer["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}")),
        1,
    );
    assert_eq!(claims["appid"], SERVER);
    assert_eq!(claims["appidacr"], "2");
    assert_eq!(
        part(&good, 1)["aud"],
        value!(["api://AzureADTokenExchange"])
    );

    for (words, expected) in [
        (["--issuer", "https://kubernetes.example.com/"], 700_211),
        (
            ["--subject", "system:serviceaccount:databases:other"],
            700_213,
        ),
        (["--audience", "sts.amazonaws.com"], 700_212),
        (["--expires-in", "-301"], 700_024),
    ] {
        let answer = ask(&emulator, SERVER, &foreign(&emulator, &words));
        assert_eq!(code(&answer), expected, "{words:?}");
    }
    assert_eq!(code(&ask(&emulator, SERVER, &invented)), 50013);
    let reporting = "4e904700-0000-4000-8000-000000000020";
    assert_eq!(code(&ask(&emulator, reporting, &good)), 700_211);
    // Entra's own tokens are no foreign issuer's.
    let words = [
        "--user",
        "alice@contoso.com",
        "--claim",
        &format!("iss={ISSUER}"),
    ];
    let own = emulator.run(&["token"], &words).stdout;
    let own = String::from_utf8(own).unwrap();
    assert_eq!(code(&ask(&emulator, SERVER, own.trim())), 50013);
}
