use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pg_test::Result;
use pg_test::emulator::Emulator;
use pg_test::set_up::free_port;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::expect;
use crate::rig::Rig;

/// A server that asks an emulator has this finding anyway.
const EMULATED: (&str, &[&str]) = ("authority-not-microsoft", &[]);

pub fn mistakes(rig: &Rig) -> Result<()> {
    let mut emulator = Emulator::prepare(rig.run(), "entra-check-keys")?;
    emulator.start()?;
    let authority = emulator.authority();
    let certificates = emulator.authorities().display().to_string();
    let mut server = rig.server("check-keys", |plan| {
        plan.set("aadauth.authority_host", &authority)
            .set("aadauth.ca_file", &certificates)
    })?;
    expect(&server, "good keys", &[EMULATED])?;

    server.configure(&[("aadauth.ca_file", Some("/nowhere/ca.pem"))])?;
    expect(
        &server,
        "no certificates",
        &[
            EMULATED,
            (
                "signing-keys-not-renewed",
                &["/nowhere/ca.pem", "No such file"],
            ),
        ],
    )?;

    // Another file of the same certificates makes the worker fetch at once.
    emulator.stop()?;
    let copy = rig.run().path().join("check-keys-ca.pem");
    std::fs::copy(&certificates, &copy)?;
    let copy = copy.display().to_string();
    server.configure(&[("aadauth.ca_file", Some(&copy))])?;
    expect(
        &server,
        "keys that cannot be renewed",
        &[
            EMULATED,
            (
                "signing-keys-not-renewed",
                &[authority.as_str(), "attempt to renew them failed"],
            ),
        ],
    )?;

    server.stop()?;
    age(&server.data().join("aadauth/signing-keys.json"), 2 * 86_400)?;
    server.start()?;
    expect(
        &server,
        "keys of the day before yesterday",
        &[
            EMULATED,
            (
                "signing-keys-not-renewed",
                &["48 hours old", "120 hours more"],
            ),
        ],
    )?;
    server.configure(&[("aadauth.signing_key_max_age", Some("1d"))])?;
    expect(
        &server,
        "keys that are too old",
        &[
            ("signing-keys-missing", &["48 hours old", "are not used"]),
            EMULATED,
        ],
    )?;

    // Keys of a file do not age.
    let file = rig.run().path().join("check-keys-jwks.json");
    let keys = entra_emulator::SigningKeys::open(emulator.state())?.key_set(None);
    std::fs::write(&file, keys.to_string())?;
    let path = file.display().to_string();
    server.configure(&[("aadauth.jwks_file", Some(&path))])?;
    expect(&server, "keys of a file", &[EMULATED])?;
    std::fs::remove_file(&file)?;
    server.reload()?;
    expect(
        &server,
        "a file that is gone",
        &[
            EMULATED,
            (
                "signing-keys-not-renewed",
                &["are still used", &path, "No such file"],
            ),
        ],
    )?;
    server.configure(&[("aadauth.jwks_file", None)])?;

    let nowhere = format!("https://localhost:{}", free_port()?);
    server.configure(&[("aadauth.authority_host", Some(&nowhere))])?;
    expect(
        &server,
        "no keys",
        &[
            (
                "signing-keys-missing",
                &["every token is refused", &nowhere],
            ),
            EMULATED,
        ],
    )
}

/// Makes the stored keys older.
fn age(file: &std::path::Path, seconds: i64) -> Result<()> {
    let mut stored: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    for set in stored["sets"].as_array_mut().ok_or("no sets")? {
        let at = set["fetched_at"].as_i64().ok_or("no time")?;
        set["fetched_at"] = (at - seconds * 1_000_000).into();
    }
    // In place, so that it remains the server's.
    Ok(std::fs::write(file, stored.to_string())?)
}

/// At the emulator's address another emulator answers, whose clock is ten minutes ahead.
pub fn clock(rig: &Rig) -> Result<()> {
    let mut emulator = Emulator::prepare(rig.run(), "entra-check-clock")?;
    emulator.start()?;
    let authority = emulator.authority();
    let certificates = emulator.authorities().display().to_string();
    let mut server = rig.server("check-clock", |plan| {
        plan.set("aadauth.authority_host", &authority)
            .set("aadauth.ca_file", &certificates)
    })?;
    expect(&server, "the same clock", &[EMULATED])?;
    emulator.stop()?;
    let ahead = SystemTime::now() + Duration::from_secs(600);
    stand_in(&emulator, &httpdate::fmt_http_date(ahead))?;
    // Another file of the same certificates makes the worker fetch at once.
    let copy = rig.run().path().join("check-clock-ca.pem");
    std::fs::copy(&certificates, &copy)?;
    server.configure(&[("aadauth.ca_file", Some(&copy.display().to_string()))])?;
    expect(
        &server,
        "another clock",
        &[
            (
                "clock-off",
                &["behind the authority's", "aadauth.clock_skew"],
            ),
            EMULATED,
            ("signing-keys-not-renewed", &["status 503"]),
        ],
    )
}

/// Answers every request at the emulator's address, for as long as the tests run, with no more than the
/// time.
fn stand_in(emulator: &Emulator, date: &str) -> Result<()> {
    let (certificate, key) = emulator.server_certificate()?;
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(certificate)?.collect::<std::result::Result<_, _>>()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let config = Arc::new(config);
    let address = emulator
        .authority()
        .replace("https://localhost", "127.0.0.1");
    let listener = TcpListener::bind(address)?;
    let answer = format!(
        "HTTP/1.1 503 Busy\r\nDate: {date}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (config, answer) = (Arc::clone(&config), answer.clone());
            std::thread::spawn(move || -> Result<()> {
                let mut stream = StreamOwned::new(ServerConnection::new(config)?, socket);
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte)?;
                    request.extend(byte);
                }
                stream.write_all(answer.as_bytes())?;
                stream.conn.send_close_notify();
                Ok(stream.flush()?)
            });
        }
    });
    Ok(())
}
