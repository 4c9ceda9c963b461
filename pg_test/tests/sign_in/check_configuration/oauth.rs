//! Lines by which the library is asked as a validator of OAUTHBEARER.

use pg_test::Result;
use pg_test::emulator::TENANT;
use pg_test::place::major;

use super::{expect, expect_silence, good_server};
use crate::rig::{OUR_LINES, Rig};

const OURS: &str = OUR_LINES[0];

/// The end of a line below the tests' own, what must be found, and what it says.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    (
        "issuer={authority}/v2.0 scope=x",
        "oauth-without-delegation",
        &["line 2", "delegate_ident_mapping=1"],
    ),
    (
        "issuer=https://login.microsoftonline.com/common/v2.0 scope=x delegate_ident_mapping=1",
        "oauth-issuer-not-served",
        &["line 2", "common", "issuer={authority}/v2.0"],
    ),
    (
        "issuer={authority} scope=x delegate_ident_mapping=1",
        "oauth-issuer-not-served",
        &["issuer={authority}/v2.0"],
    ),
    (
        "issuer=https://localhost:1/{tenant}/v2.0 scope=x delegate_ident_mapping=1",
        "oauth-issuer-not-served",
        &["https://localhost:1/"],
    ),
];

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
    for (end, code, says) in MISTAKES {
        let line = filled(&format!("hostssl all all all oauth {end}"));
        server.set_hba(&[&line])?;
        let says: Vec<String> = says.iter().map(|text| filled(text)).collect();
        let says: Vec<&str> = says.iter().map(String::as_str).collect();
        expect(&server, &line, &[(code, &says)])?;
    }
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
    server.set_hba(&[&format!(
        "hostssl all {}",
        good.replacen("all", "somebody_else", 1)
    )])?;
    expect(
        &server,
        "others",
        &[("hba-role-without-line", &["\"someone\""])],
    )?;

    let other = good.replace("delegate_ident_mapping=1", "validator=other");
    server.configure(&[("oauth_validator_libraries", Some("aadauth, other"))])?;
    let says = &["line 2", "\"other\"", "\"someone\"", "validator=aadauth"][..];
    server.set_hba(&[&format!("hostssl all {other}"), OURS])?;
    expect(
        &server,
        "another validator",
        &[("oauth-of-another-validator", says)],
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
    let says = &["line 2", "oauth_validator_libraries = 'aadauth'"][..];
    for libraries in [Some("other"), None] {
        server.configure(&[("oauth_validator_libraries", libraries)])?;
        expect(
            &server,
            "not allowed",
            &[("oauth-validator-not-allowed", says)],
        )?;
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
