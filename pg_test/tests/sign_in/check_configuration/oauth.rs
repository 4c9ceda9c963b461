//! Lines by which the library is asked as a validator of OAUTHBEARER.

use pg_test::Result;
use pg_test::emulator::TENANT;
use pg_test::place::major;

use super::{expect, expect_silence, good_server};
use crate::rig::{OUR_LINES, Rig};

const OURS: &str = OUR_LINES[0];

/// Of the tenant's issuers, one that knows nothing of a path, and one that does.
const FINE: &[&str] = &[
    "issuer={authority}/v2.0 scope=x delegate_ident_mapping=1",
    "issuer={authority}/v2.0/.well-known/openid-configuration scope=x delegate_ident_mapping=1",
    "issuer=https://sts.windows.net/{tenant}/ scope=x delegate_ident_mapping=1",
    "issuer={authority}/v2.0 scope=x validator=aadauth map=entra",
];

pub fn mistakes(rig: &Rig) -> Result<()> {
    if major()?.parse::<u32>()? < 18 {
        return without_oauth(rig);
    }
    let mut server = good_server(rig, "check-oauth", |plan| {
        plan.set("oauth_validator_libraries", "aadauth")
    })?;
    let filled = |text: &str| {
        text.replace(
            "{authority}",
            &format!("https://login.microsoftonline.com/{TENANT}"),
        )
        .replace("{tenant}", TENANT)
    };
    server.set_hba(&[&filled(
        "hostssl all all all oauth issuer={authority}/v2.0 scope=x",
    )])?;
    expect(
        &server,
        "no delegation",
        &[(
            "oauth-without-delegation",
            &["line 2", "delegate_ident_mapping=1"],
        )],
    )?;
    for end in FINE {
        let line = filled(&format!("hostssl all all all oauth {end}"));
        server.set_hba(&[&line])?;
        expect_silence(&server, &line)?;
    }
    let good = filled(&format!("all all oauth {}", FINE[0]));
    server.set_hba(&[&format!("host all {good}")])?;
    expect(
        &server,
        "host",
        &[("hba-line-without-tls", &["line 2", "hostssl"])],
    )?;

    let other = good.replace("delegate_ident_mapping=1", "validator=other");
    server.configure(&[("oauth_validator_libraries", Some("aadauth, other"))])?;
    server.set_hba(&[&format!("hostssl all {other}"), OURS])?;
    expect(
        &server,
        "another validator",
        &[("hba-line-before", &["line 2", "(oauth)", "all roles"])],
    )?;
    server.set_hba(&[OURS, &format!("hostssl all {other}")])?;
    expect_silence(&server, "another validator, after ours")?;
    server.set_hba(&[
        &format!("hostssl all {}", other.replacen("all", "local_only", 1)),
        OURS,
    ])?;
    expect_silence(&server, "another validator, for a local role")?;

    server.set_hba(&[&format!("hostssl all {good} validator=aadauth"), OURS])?;
    expect_silence(&server, "both methods")?;
    let says = &["line 2", "oauth_validator_libraries"][..];
    for libraries in [Some("other"), None] {
        server.configure(&[("oauth_validator_libraries", libraries)])?;
        expect(&server, "not allowed", &[("hba-line-invalid", says)])?;
    }
    Ok(())
}

/// Before 18 such a line is no line at all.
fn without_oauth(rig: &Rig) -> Result<()> {
    let mut server = good_server(rig, "check-oauth", |plan| plan)?;
    server.set_hba(&["hostssl all all all oauth issuer=x scope=x", OURS])?;
    expect(
        &server,
        "oauth",
        &[(
            "hba-line-invalid",
            &["line 2", "invalid authentication method \"oauth\""],
        )],
    )
}
