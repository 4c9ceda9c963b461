//! What the packages look like to Debian's tools, on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pg_test::Result;
use pg_test::place::{RunDirectory, source, target};
use pg_test::process::checked;
use pg_test::rig::ensure;

use crate::Test;
use crate::prepared::Prepared;

pub const TESTS: &[Test] = &[
    ("it_finds_no_errors_and_gives_no_warnings", clean),
    ("a_newer_release_of_debian_has_newer_packages", versions),
    ("no_package_is_made_where_the_release_is_unknown", unknown),
];

fn clean(prepared: &Prepared) -> Result<()> {
    if Command::new("lintian").arg("--version").output().is_err() {
        eprintln!("skipped: lintian: it is not installed (.ci/prerequisites all installs it)");
        return Ok(());
    }
    for package in &prepared.built {
        let mut lintian = Command::new("lintian");
        lintian.args(["--no-cfg", "--allow-root", "--fail-on", "error,warning"]);
        checked(lintian.arg(package))?;
    }
    Ok(())
}

/// In the order in which a machine gets them; the last is one that the system itself may have one day.
fn versions(_: &Prepared) -> Result<()> {
    let debian = [
        made_on("debian", "VERSION_ID=12 VERSION_CODENAME=bookworm")?,
        made_on("debian", "VERSION_ID=13 VERSION_CODENAME=trixie")?,
    ];
    let ubuntu = [
        made_on("ubuntu", "VERSION_ID=24.04 VERSION_CODENAME=noble")?,
        made_on("ubuntu", "VERSION_ID=26.04 VERSION_CODENAME=resolute")?,
    ];
    ensure(
        debian[0].ends_with("-1~deb12") && ubuntu[0].ends_with("-1~ubuntu24.04"),
        || format!("{debian:?} {ubuntu:?}"),
    )?;
    for [before, after] in [&debian, &ubuntu] {
        let released = before.split('~').next().unwrap_or_default();
        for (older, newer) in [(before.as_str(), after.as_str()), (after, released)] {
            let mut compare = Command::new("dpkg");
            checked(compare.args(["--compare-versions", older, "lt", newer]))
                .map_err(|error| format!("{older} is not older than {newer}: {error}"))?;
        }
    }
    Ok(())
}

fn unknown(_: &Prepared) -> Result<()> {
    let error = made_on("debian", "VERSION_CODENAME=sid")
        .err()
        .ok_or("one was made")?
        .to_string();
    ensure(error.contains("which release this is"), || error.clone())
}

/// Makes PgBouncer's package, the smaller one, as if this machine had another system; its version.
fn made_on(system: &str, release: &str) -> Result<String> {
    let run = RunDirectory::create()?;
    let file = run.path().join("os-release");
    fs::write(
        &file,
        format!("ID={system}\n{}\n", release.replace(' ', "\n")),
    )?;
    // It is found where everything else is, and left elsewhere.
    let said = checked(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec"])
            .arg(
                "mount --bind \"$1\" /etc/os-release
                 mkdir -p \"$2/deb\" \"$3\"
                 mount --bind \"$3\" \"$2/deb\"
                 packaging/deb pooler",
            )
            .arg("made-on")
            .arg(&file)
            .arg(target())
            .arg(run.path().join("deb"))
            .env("CARGO_TARGET_DIR", target())
            .current_dir(source()),
    )?;
    let made = said
        .lines()
        .find_map(|line| line.strip_prefix("made "))
        .ok_or_else(|| format!("it is not said what was made: {said}"))?;
    version_of(&run.path().join("deb").join(name_of(made)))
}

fn name_of(path: &str) -> PathBuf {
    Path::new(path)
        .file_name()
        .map(PathBuf::from)
        .unwrap_or_default()
}

fn version_of(package: &Path) -> Result<String> {
    let field = checked(
        Command::new("dpkg-deb")
            .arg("--field")
            .arg(package)
            .arg("Version"),
    )?;
    Ok(field.trim().to_owned())
}
