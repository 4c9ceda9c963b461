use pg_test::Result;

use super::{expect, expect_silence, findings, good_server};
use crate::rig::{Rig, ensure};

/// Settings that are changed, what must be found, and what it says.
type Mistake = (
    &'static [(&'static str, Option<&'static str>)],
    &'static str,
    &'static [&'static str],
);

const MISTAKES: &[Mistake] = &[
    (
        &[("aadauth.tenant_id", None)],
        "tenant-not-set",
        &["aadauth.tenant_id"],
    ),
    (
        &[("aadauth.tenant_id", Some("common"))],
        "setting-refused",
        &["postgresql.conf line ", "'common'", "a GUID such as"],
    ),
    (
        &[("aadauth.audience", Some("db"))],
        "setting-refused",
        &["'db'", "an application id URI such as"],
    ),
    (
        &[("aadauth.clock_skew", Some("1h"))],
        "setting-refused",
        &["aadauth.clock_skew", "'1h'"],
    ),
    (
        &[("aadauth.audit_retention", Some("400d"))],
        "setting-refused",
        &["'400d'", "a number of days"],
    ),
    (
        &[("aadauth.tennant_id", Some("x"))],
        "setting-refused",
        &["aadauth.tennant_id"],
    ),
    (
        &[("aadauth.audience", None)],
        "audience-not-set",
        &["aadauth.audience"],
    ),
    (
        &[("aadauth.audience", Some("api://own, ossrdbms"))],
        "audience-shared",
        &[
            "https://ossrdbms-aad.database.windows.net",
            "every Azure database",
        ],
    ),
    (
        &[("aadauth.authority_host", Some("https://localhost:8443"))],
        "authority-not-microsoft",
        &["https://localhost:8443 is not Microsoft"],
    ),
    // Azure's audience is what an emulator is for.
    (
        &[
            ("aadauth.authority_host", Some("https://localhost:8443")),
            ("aadauth.audience", Some("ossrdbms")),
        ],
        "authority-not-microsoft",
        &[],
    ),
    (
        &[("aadauth.require_tls", Some("off"))],
        "tokens-without-tls",
        &["aadauth.require_tls"],
    ),
];

pub fn mistakes(rig: &Rig) -> Result<()> {
    let mut server = good_server(rig, "check-settings", |plan| {
        plan.set("aadauth.cloud", "public")
    })?;
    let before = super::good(rig, "check-settings")?
        .set("aadauth.cloud", "public")
        .settings;
    for (changes, code, says) in MISTAKES {
        server.configure(changes)?;
        expect(&server, &format!("{changes:?}"), &[(code, says)])?;
        let undo: Vec<(&str, Option<&str>)> = changes
            .iter()
            .map(|(name, _)| (*name, before.get(*name).map(String::as_str)))
            .collect();
        server.configure(&undo)?;
        expect_silence(&server, &format!("{changes:?} undone"))?;
    }
    server.configure(&[("ssl", Some("off"))])?;
    expect(
        &server,
        "without TLS",
        &[
            ("hba-line-invalid", &["line 2", "SSL is disabled"]),
            ("hba-line-invalid", &["line 3", "SSL is disabled"]),
        ],
    )
}

/// A secret that was put where none belongs is not shown.
pub fn secrets(rig: &Rig) -> Result<()> {
    let mut server = good_server(rig, "check-secrets", |plan| plan)?;
    for (setting, value, says) in [
        (
            "aadauth.https_proxy",
            "http://user:s3cret@proxy:3128",
            "no password",
        ),
        ("aadauth.client_secret_file", "s3cret", "must be absolute"),
    ] {
        server.configure(&[(setting, Some(value))])?;
        expect(&server, value, &[("setting-refused", &[setting, says])])?;
        let shown: Vec<String> = findings(&server)?
            .into_iter()
            .map(|finding| finding.text)
            .collect();
        ensure(!shown.concat().contains("s3cret"), || shown.concat())?;
        server.configure(&[(setting, None)])?;
    }
    expect_silence(&server, "without them")
}

/// A server with tokens switched off needs no tenant.
pub fn tokens_off(rig: &Rig) -> Result<()> {
    let mut server = good_server(rig, "check-tokens-off", |plan| plan)?;
    server.configure(&[
        ("aadauth.authentication", Some("postgresql")),
        ("aadauth.tenant_id", None),
        ("aadauth.audience", None),
    ])?;
    expect_silence(&server, "without tokens")
}
