use pg_test::Result;
use pg_test::server::Server;

use super::{expect, expect_silence, good_server};
use crate::rig::{OUR_LINES, Rig};

const OURS: &str = OUR_LINES[0];

/// Lines (below the tests' own, which is the first), what must be found, and what it says.
pub type Mistake = (
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
);

const MISTAKES: &[Mistake] = &[
    (
        &[],
        "hba-line-missing",
        &["hostssl all all all pam pamservice=aadauth-{major}"],
    ),
    (
        &["hostssl all all all scram-sha-256"],
        "hba-line-missing",
        &["pg_hba.conf"],
    ),
    (
        &["host all all all scram-sha-256", OURS],
        "hba-line-before",
        &[
            "line 2",
            "scram-sha-256",
            "all roles",
            "Move line 3 above line 2",
        ],
    ),
    (
        &["hostssl all someone all password", OURS],
        "hba-line-before",
        &["line 2", "the mapped roles \"someone\""],
    ),
    (
        &["hostssl all /^some all scram-sha-256", OURS],
        "hba-line-before",
        &["roles that match \"/^some\""],
    ),
    // In all sessions without TLS, and in all sessions without the library.
    (
        &[OURS, "host all all all trust"],
        "hba-line-open-without-library",
        &["line 3", "trust", "all roles"],
    ),
    (
        &[OURS, "host all someone 10.0.0.0/8 trust"],
        "hba-line-open-without-library",
        &["line 3", "trust", "\"someone\""],
    ),
    // Debian's own, above the lines that are appended.
    (
        &["host all all 127.0.0.1/32 scram-sha-256", OURS],
        "hba-line-before",
        &["scram-sha-256", "all roles"],
    ),
    (
        &[
            "hostssl app,postgres +staff samenet ldap ldapserver=x ldapprefix=a ldapsuffix=b",
            OURS,
        ],
        "hba-line-before",
        &["ldap", "\"someone\""],
    ),
    (
        &["hostssl sameuser @listed all cert", OURS],
        "hba-line-before",
        &["cert", "\"someone\""],
    ),
    (
        &["hostssl all all all pam pamservice=login", OURS],
        "hba-line-before",
        &["pam", "all roles"],
    ),
    // Others of ours before it match less.
    (
        &[
            "hostssl replication all all pam pamservice=aadauth-{major}",
            "host all all all scram-sha-256",
            OURS,
        ],
        "hba-line-before",
        &["line 3", "all roles", "Move line 4 above line 3"],
    ),
    (
        &[
            "hostssl app all all pam pamservice=aadauth-{major}",
            "host all all all scram-sha-256",
            OURS,
        ],
        "hba-line-before",
        &["line 3", "all roles"],
    ),
    (
        &[
            "hostssl all +staff ::1/128 pam pamservice=aadauth-{major}",
            "host all someone all scram-sha-256",
            "hostssl app,postgres all all pam pamservice=aadauth-{major}",
        ],
        "hba-line-before",
        &["line 3", "\"someone\""],
    ),
    (
        &[
            "hostssl all somebody_else all pam pamservice=aadauth-{major}",
            "host all all all scram-sha-256",
        ],
        "hba-role-without-line",
        &["\"someone\"", "\"all\""],
    ),
    (
        &["hostssl all all all", OURS],
        "hba-line-invalid",
        &["line 2", "end-of-line before authentication method"],
    ),
    (
        &["host all all all pam pamservice=aadauth-{major}"],
        "hba-line-without-tls",
        &["line 2", "hostssl"],
    ),
    (
        &["hostnossl all all all pam pamservice=aadauth-{major}", OURS],
        "hba-line-without-tls",
        &["hostnossl"],
    ),
    (
        &["hostssl all all all pam pamservice=aadauth-99"],
        "pam-file-missing",
        &["/etc/pam.d/aadauth-99", "pamservice=aadauth-{major}"],
    ),
];

/// Lines that are none of aadauth's business, or meant to keep out.
const FINE: &[&[&str]] = &[
    &["hostnossl all all all reject", OURS],
    &["host all local_only all scram-sha-256", OURS],
    &["host all +nobodys_group all scram-sha-256", OURS],
    &["local all all scram-sha-256", OURS],
    &["hostnossl all all all scram-sha-256", OURS],
    &["host replication all all scram-sha-256", OURS],
    &["hostssl sameuser local_only all cert", OURS],
    &[OURS, "hostssl all all all scram-sha-256"],
    &[
        OURS,
        "host all,replication all all reject",
        "hostssl all all all trust",
    ],
    &[OURS, "host all local_only all trust"],
    &[
        "hostssl all someone all pam pamservice=aadauth-{major}",
        "host all all all scram-sha-256",
    ],
    &["hostssl all /^some all pam pamservice=aadauth-{major}"],
    &[
        "hostssl all all ::1/128 pam pamservice=AADAUTH-{major}",
        OURS,
    ],
];

/// Makes each mistake in turn, and expects it to be found.
pub fn found(server: &mut Server, mistakes: &[Mistake]) -> Result<()> {
    for (lines, code, says) in mistakes {
        server.set_hba(lines)?;
        expect(server, &format!("{lines:?}"), &[(code, says)])?;
    }
    Ok(())
}

pub fn mistakes(rig: &Rig) -> Result<()> {
    let mut server = good_server(rig, "check-hba", |plan| plan)?;
    server.sql("CREATE ROLE staff; GRANT staff TO someone")?;
    std::fs::write(server.data().join("listed"), "someone\n")?;
    found(&mut server, MISTAKES)?;
    // Roles that are mapped later are matched by it.
    server.sql("DROP ROLE someone")?;
    server.set_hba(&["host all all all trust", OURS])?;
    expect(
        &server,
        "with nobody mapped",
        &[
            ("hba-line-before", &["for all roles"]),
            (
                "hba-line-open-without-library",
                &["lets in all roles without a token"],
            ),
        ],
    )
}

pub fn fine(rig: &Rig) -> Result<()> {
    let mut server = good_server(rig, "check-hba-fine", |plan| plan)?;
    server.sql("CREATE ROLE local_only LOGIN PASSWORD 'secret'; CREATE ROLE nobodys_group")?;
    for lines in FINE {
        server.set_hba(lines)?;
        expect_silence(&server, &format!("{lines:?}"))?;
    }
    Ok(())
}
