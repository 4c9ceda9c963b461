use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, SystemTime};

use pg_test::Result;
use pg_test::place::give_to_server;

use super::{expect, expect_silence, good_server};
use crate::rig::Rig;

/// Files outside the data directory and in it, and their directories.
pub fn changeable(rig: &Rig) -> Result<()> {
    let directory = rig.run().for_server("check-files")?;
    let mut server = good_server(rig, "check-changeable", |plan| plan)?;
    let configured = rig.run().path().join("check-changeable.jwks");
    let keys = directory.join("keys.json");
    fs::copy(configured, &keys)?;
    give_to_server(&keys)?;
    let shown = keys.display().to_string();
    server.configure(&[("aadauth.jwks_file", Some(&shown))])?;
    expect_silence(&server, "a file of the server's")?;
    let mode =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    for (path, good, bad) in [
        (keys.as_path(), 0o600, 0o620),
        (keys.as_path(), 0o600, 0o602),
        (directory.as_path(), 0o755, 0o777),
        (server.data().join("aadauth").as_path(), 0o700, 0o770),
    ] {
        mode(path, bad)?;
        let place = path.display().to_string();
        let shown = format!("{bad:04o}");
        expect(
            &server,
            "a mode",
            &[("file-changeable", &[&place, &shown, "chmod"])],
        )?;
        mode(path, good)?;
        expect_silence(&server, "the mode is back")?;
    }
    // Others cannot replace a file there.
    mode(&directory, 0o1777)?;
    expect_silence(&server, "a directory such as /tmp")?;
    mode(&directory, 0o755)?;
    chown(&keys, Some(12345), None)?;
    mode(&keys, 0o644)?;
    expect(
        &server,
        "an owner",
        &[("file-changeable", &["user ID 12345"])],
    )
}

/// What was revoked after a backup is not in it.
pub fn recovered(rig: &Rig) -> Result<()> {
    let mut server = good_server(rig, "check-recovered", |plan| {
        plan.set("restore_command", "false")
    })?;
    server.stop()?;
    let signal = server.data().join("recovery.signal");
    fs::write(&signal, "")?;
    give_to_server(&signal)?;
    server.start()?;
    expect(
        &server,
        "recovered",
        &[("revocations-recovered", &["aadauth.revocations"])],
    )?;
    let history = server.data().join("pg_wal/00000002.history");
    let week = Duration::from_secs(7 * 24 * 3600);
    fs::File::options()
        .write(true)
        .open(history)?
        .set_modified(SystemTime::now() - week)?;
    expect_silence(&server, "a week later")
}
