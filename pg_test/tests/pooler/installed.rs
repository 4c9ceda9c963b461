//! `make install-pooler`.

use std::fs;
use std::process::Command;

use pg_test::Result;
use pg_test::place::{source, target};
use pg_test::process::checked;
use pg_test::rig::{Rig, ensure};

use crate::Test;
use crate::pgbouncer::{Pooled, ROLE, SESSION};

pub const TESTS: &[Test] = &[
    ("a_service_file_that_is_there_is_kept", kept),
    ("the_server_shows_the_modules_version", version),
];

fn version(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-version", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    pooled.query(SESSION, &person.role, &rig.token_of(&person)?, "SELECT 1")?;
    let name = pooled.server.sql(&format!(
        "SELECT application_name FROM pg_stat_activity WHERE usename = '{ROLE}'"
    ))?;
    let expected = concat!("pam_aadauth ", env!("CARGO_PKG_VERSION"));
    ensure(name == expected, || name)
}

fn kept(rig: &Rig) -> Result<()> {
    let root = rig.run().path().join("pooler-root");
    let install = || {
        let mut make = Command::new("make");
        make.args(["-s", "-C"]).arg(source());
        make.args(["install-pooler", "pamdir=/lib/security", "bindir=/bin"])
            .arg(format!("DESTDIR={}", root.display()))
            .env("CARGO_TARGET_DIR", target());
        checked(&mut make)
    };
    install()?;
    let service = root.join("etc/pam.d/pgbouncer");
    let written = fs::read_to_string(&service)?;
    ensure(
        written == "auth required pam_aadauth.so\naccount required pam_aadauth.so\n",
        || written,
    )?;
    let module = fs::read(root.join("lib/security/pam_aadauth.so"))?;
    ensure(
        module == fs::read(target().join("release/libpam_aadauth.so"))?,
        || "another module was installed".to_owned(),
    )?;
    ensure(root.join("bin/aadauth-pooler-check").is_file(), || {
        "no checker was installed".to_owned()
    })?;
    let own = "# of the administrator\nauth required pam_deny.so\n";
    fs::write(&service, own)?;
    let said = install()?;
    ensure(
        fs::read_to_string(&service)? == own && said.contains("kept"),
        || said,
    )
}
