use pg_test::place::give_to_server;
use pg_test::plan::Plan;
use pg_test::route::{ALTERNATE_HBA_FILE, Route};
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::{Result, pam};

use super::hba::{Mistake, found};
use super::{expect, expect_silence, good, good_server};
use crate::alternate_hba_file::hostile_hook;
use crate::rig::{Rig, ensure};

/// In the alternate HBA file.
const MISTAKES: &[Mistake] = &[
    (
        &[],
        "hba-line-missing",
        &[ALTERNATE_HBA_FILE, "hostssl all all all trust"],
    ),
    (
        &[
            "host all all all scram-sha-256",
            "hostssl all all all trust",
        ],
        "hba-line-before",
        &[ALTERNATE_HBA_FILE, "line 2", "all roles"],
    ),
    (
        &["host all all all trust"],
        "hba-line-without-tls",
        &[ALTERNATE_HBA_FILE, "line 2"],
    ),
    (
        &["hostssl all all all trust", "nonsense"],
        "hba-line-invalid",
        &[ALTERNATE_HBA_FILE, "line 3"],
    ),
];

/// Lines of the server's own file, and what the finding says.
const OPEN: &[(&[&str], &str)] = &[
    (&["local all postgres trust"], "every client that names"),
    (&["host all all all trust"], "all roles"),
    (&["host all all all scram-sha-256"], "all roles"),
    (&["host all someone all scram-sha-256"], "\"someone\""),
    (&["hostssl replication all all cert"], "all roles"),
    (&["host all all all reject", "local all all peer"], "line 2"),
];

const CLOSED: &[&[&str]] = &[
    &["local all postgres peer", "host all all all reject"],
    &[
        "host all all all reject",
        "hostssl all all 10.0.0.0/8 trust",
    ],
    &["host all local_only all scram-sha-256"],
];

fn alternate(rig: &Rig, name: &str) -> Result<Server> {
    good_server(rig, name, on_alternate)
}

fn on_alternate(plan: Plan) -> Plan {
    plan.route(Route::HbaFile)
        .hba(&["hostssl all all all trust", "local all all trust"])
}

pub fn mistakes(rig: &Rig) -> Result<()> {
    let mut server = alternate(rig, "check-second")?;
    found(&mut server, MISTAKES)
}

pub fn own_file(rig: &Rig) -> Result<()> {
    const CODE: &str = "hba-line-open-without-library";
    let server = alternate(rig, "check-own")?;
    server.sql("CREATE ROLE local_only LOGIN PASSWORD 'secret'")?;
    let own = server.data().join("pg_hba.conf");
    let write = |lines: &[&str]| -> Result<()> {
        std::fs::write(&own, lines.join("\n") + "\n")?;
        give_to_server(&own)
    };
    for (lines, says) in OPEN {
        write(lines)?;
        let what = format!("{lines:?}");
        expect(&server, &what, &[(CODE, &["pg_hba.conf", says])])?;
    }
    for lines in CLOSED {
        write(lines)?;
        expect_silence(&server, &format!("{lines:?}"))?;
    }
    // The lines in force are what they were.
    let file = server.sql("SHOW hba_file")?;
    ensure(file.ends_with(ALTERNATE_HBA_FILE), || file)?;
    write(&["local all nonsense"])?;
    let code = "hba-line-invalid";
    let says = &["pg_hba.conf line 1", "does not start"];
    expect(&server, "nonsense", &[(code, says)])?;
    std::fs::remove_file(&own)?;
    let says = &["pg_hba.conf", "No such file", "does not start"];
    expect(&server, "no file", &[(code, says)])
}

/// An aadauth service that only the server's own file names: without the library, it is the one that decides.
pub fn pam_services_of_own_file(rig: &Rig) -> Result<()> {
    let service = pam::service()?;
    let directory = rig.pam_directory("check-own-pam")?;
    let server = good_server(rig, "check-own-pam", |plan| {
        on_alternate(plan).pam(&directory)
    })?;
    let own = server.data().join("pg_hba.conf");
    std::fs::write(&own, format!("host all all all pam pamservice={service}\n"))?;
    give_to_server(&own)?;
    expect_silence(&server, "a service that refuses")?;
    directory.remove(&service)?;
    directory.write("other", "auth required pam_permit.so\n")?;
    expect(
        &server,
        "a service without a file, and an open one for such",
        &[
            ("pam-file-missing", &[&service, "No such file"]),
            ("pam-other-accepts", &["pam_deny.so"]),
        ],
    )
}

/// PostgreSQL shows it in `pg_settings`; it is not refused.
pub fn restart_pending(rig: &Rig) -> Result<()> {
    let mut server = good_server(rig, "check-pending", |plan| plan)?;
    server.configure(&[("aadauth.hba_file", Some("elsewhere.conf"))])?;
    until("the setting waits for a restart", || {
        let pending = server
            .sql("SELECT pending_restart FROM pg_settings WHERE name = 'aadauth.hba_file'")?;
        Ok((pending == "t").then_some(()))
    })?;
    expect_silence(&server, "before the restart")
}

pub fn hostile_libraries(rig: &Rig) -> Result<()> {
    let libraries = |library: &std::path::Path| format!("aadauth,{}", library.display());
    let library = hostile_hook::build(rig, "check", &[])?;
    good_server_but(
        rig,
        on_alternate(good(rig, "check-hook")?)
            .set("shared_preload_libraries", &libraries(&library)),
        ("hook-displaced", &["Name aadauth last"]),
    )?;
    let define = "HBA_FILE=\"pg_hba.conf\"";
    let library = hostile_hook::build(rig, "check-file", &[define])?;
    good_server_but(
        rig,
        on_alternate(good(rig, "check-other-file")?)
            .set("shared_preload_libraries", &libraries(&library)),
        ("hook-displaced", &["aadauth.hba_file", "Everyone"]),
    )
}

fn good_server_but(rig: &Rig, plan: Plan, expected: (&str, &[&str])) -> Result<()> {
    let server = rig.start_prepared(plan)?;
    rig.person(&server, "someone")?;
    expect(&server, "with a hostile library", &[expected])
}
