use pg_test::Result;
use pg_test::emulator::Emulator;
use pg_test::server::free_port;
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

    // Another file of the same certificates makes the worker fetch at once.
    emulator.stop()?;
    let copy = rig.run().path().join("check-keys-ca.pem");
    std::fs::copy(&certificates, &copy)?;
    let copy = copy.display().to_string();
    server.configure(&[("aadauth.ca_file", Some(&copy))])?;
    expect(
        &server,
        "keys that can't be renewed",
        &[
            EMULATED,
            ("signing-keys-not-renewed", &[authority.as_str(), "serve"]),
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
            ("signing-keys-old", &["48 hours old", "120 hours more"]),
        ],
    )?;
    server.configure(&[("aadauth.signing_key_max_age", Some("1d"))])?;
    expect(
        &server,
        "keys that are too old",
        &[
            ("signing-keys-too-old", &["48 hours old", "serve no more"]),
            EMULATED,
        ],
    )?;

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
