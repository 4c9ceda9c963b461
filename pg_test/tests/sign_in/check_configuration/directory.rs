use pg_test::Result;

use super::expect;
use crate::directory_server::{SERVER_SECRET, set_mode};
use crate::rig::Rig;

/// A server that asks an emulator has this finding anyway.
const EMULATED: (&str, &[&str]) = ("authority-not-microsoft", &[]);

pub fn mistakes(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server("check-directory")?;
    let secret = rig.run().path().join("check-directory.secret");
    let path = secret.display().to_string();
    // A group is mapped, and nothing is to be said of that beside these findings.
    expect(&own.server, "a good directory", &[EMULATED])?;

    for (mode, content, says) in [
        ("0644", SERVER_SECRET, "group or world access"),
        ("0600", "", "it is empty"),
    ] {
        set_mode(&secret, mode)?;
        std::fs::write(&secret, content)?;
        expect(
            &own.server,
            says,
            &[
                (
                    "directory-credential-unusable",
                    &["aadauth.client_secret_file", &path, says],
                ),
                EMULATED,
            ],
        )?;
    }
    std::fs::write(&secret, SERVER_SECRET)?;
    expect(&own.server, "the secret is back", &[EMULATED])?;

    for (setting, value) in [
        (
            "aadauth.client_id",
            crate::directory_server::SERVER_APPLICATION,
        ),
        ("aadauth.client_secret_file", path.as_str()),
    ] {
        own.server.configure(&[(setting, None)])?;
        expect(
            &own.server,
            setting,
            &[("directory-incomplete", &[setting, "Set "]), EMULATED],
        )?;
        own.server.configure(&[(setting, Some(value))])?;
    }

    let other = |name: &str, content: &str| -> Result<String> {
        Ok(rig.secret_file(name, content)?.display().to_string())
    };
    let wrong = other("check-directory.wrong", "not-the-secret")?;
    own.server
        .configure(&[("aadauth.client_secret_file", Some(&wrong))])?;
    expect(
        &own.server,
        "a wrong secret",
        &[
            ("directory-credential-unusable", &["AADSTS7000215"]),
            EMULATED,
        ],
    )?;
    let reporting = other("check-directory.reporting", "reporting-secret")?;
    own.server.configure(&[
        ("aadauth.client_secret_file", Some(&reporting)),
        (
            "aadauth.client_id",
            Some("4e904700-0000-4000-8000-000000000020"),
        ),
    ])?;
    expect(
        &own.server,
        "an application without permissions",
        &[
            (
                "directory-not-answering",
                &[
                    "User.Read.All",
                    "GroupMember.Read.All",
                    "Application.Read.All",
                ],
            ),
            EMULATED,
        ],
    )?;

    own.server.configure(&[
        ("aadauth.client_secret_file", Some(&path)),
        (
            "aadauth.client_id",
            Some(crate::directory_server::SERVER_APPLICATION),
        ),
    ])?;
    expect(&own.server, "all is well again", &[EMULATED])?;
    own.emulator.stop()?;
    expect(
        &own.server,
        "nobody answers",
        &[
            ("directory-not-answering", &["aadauth.graph_endpoint"]),
            EMULATED,
        ],
    )?;
    own.emulator.start()?;

    own.server.configure(&[
        ("aadauth.credential", Some("none")),
        ("pgaadauth.enable_group_sync", Some("on")),
    ])?;
    expect(
        &own.server,
        "group sync without a directory",
        &[
            ("directory-incomplete", &["pgaadauth.enable_group_sync"]),
            EMULATED,
        ],
    )
}
