//! The package on a machine that has nothing but it.

use std::collections::BTreeSet;
use std::fs;

use pg_test::Result;
use pg_test::place::source;
use pg_test::rig::ensure;

use crate::Test;
use crate::prepared::Prepared;

pub const TESTS: &[Test] = &[
    ("installing_names_the_lines_to_set", names_the_lines),
    ("people_sign_in", people_sign_in),
    ("an_upgrade_leaves_the_running_server_alone", upgrade),
    ("a_bad_upgrade_is_undone_as_documented", bad_upgrade),
    ("the_files_that_the_documents_name", documented_files),
    ("clients_get_and_judge_tokens", tokens),
    ("checksums_find_a_changed_package", checksums),
];

fn names_the_lines(prepared: &Prepared) -> Result<()> {
    let service = format!("pam pamservice={}", prepared.service);
    for said in [
        "shared_preload_libraries = 'aadauth'",
        "aadauth.tenant_id = ",
        "aadauth.audience = ",
        &service,
        "CREATE EXTENSION aadauth",
        "No setting was changed, and no server restarted",
    ] {
        ensure(prepared.installing.contains(said), || {
            format!("{said} is not in\n{}", prepared.installing)
        })?;
    }
    Ok(())
}

fn people_sign_in(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("people")?;
    let machine = &server.machine;
    let tools = machine.try_run("command -v cargo rustc cc gcc make")?;
    ensure(!tools.success && tools.output.is_empty(), || {
        format!("no bare machine: {}", tools.output)
    })?;
    let package = &prepared.package;
    machine.run(&format!("dpkg --verify {package} && dpkg --audit"))?;
    let missing = machine.run(&format!(
        "ldd /usr/lib/postgresql/{}/lib/aadauth.so",
        prepared.major
    ))?;
    ensure(!missing.contains("not found"), || missing.clone())?;
    ensure(
        machine.run(&format!(
            "stat -c '%a %U %G' /etc/pam.d/{}",
            prepared.service
        ))? == "644 root root",
        || "the service file can be changed by others".to_owned(),
    )?;

    let alice = "alice@contoso.com";
    server.lets_in(alice, &server.token(alice)?)?;
    server.lets_in("local", "local password")?;
    server.refuses("local", "another password")?;
    server.refuses(alice, &server.token("mallory@contoso.com")?)?;
    server.refuses(alice, "anything")?;
    // No finding but the one that the emulator causes.
    let findings = server.sql("SELECT DISTINCT code FROM aadauth.check_configuration()")?;
    ensure(findings == "authority-not-microsoft", || findings.clone())
}

/// Installing the same version again is like installing the next one: dpkg replaces every file.
fn upgrade(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("upgrade")?;
    let before = server.postmaster()?;
    let alice = "alice@contoso.com";
    let said = server
        .machine
        .run(&format!("apt-get install -y --reinstall {}", prepared.file))?;
    ensure(said.contains("ALTER EXTENSION aadauth UPDATE"), || {
        said.clone()
    })?;
    ensure(server.postmaster()? == before, || "restarted".to_owned())?;
    let maps = server.machine.run(&format!(
        "grep -c 'aadauth.so (deleted)' /proc/{before}/maps"
    ))?;
    ensure(maps != "0", || {
        "the library was written over, not replaced".to_owned()
    })?;
    server.lets_in(alice, &server.token(alice)?)?;
    server.refuses(alice, &server.token("mallory@contoso.com")?)?;
    server.restart()?;
    server.await_keys()?;
    server.lets_in(alice, &server.token(alice)?)
}

/// A library that can't be loaded keeps the server from starting: docs/break-glass.md.
fn bad_upgrade(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("bad-upgrade")?;
    let machine = &server.machine;
    let alice = "alice@contoso.com";
    server.control("stop")?;
    let library = format!("/usr/lib/postgresql/{}/lib/aadauth.so", prepared.major);
    machine.run(&format!(
        "echo broken >{library}.new; mv {library}.new {library}"
    ))?;
    ensure(server.start().is_err(), || {
        "it started with a library that is none".to_owned()
    })?;

    let blocks = server.blocks("docs/break-glass.md", "break-glass")?;
    ensure(blocks.len() == 3, || format!("{} steps", blocks.len()))?;
    server.run_block(&blocks[0])?;
    // Nobody comes by the network meanwhile.
    let printed = server.sign_in(alice, &server.token(alice)?)?;
    ensure(printed.error.contains("Connection refused"), || {
        format!("{printed:?}")
    })?;
    // A mapped role with a password is the danger, and it's listed.
    server.sql("ALTER ROLE \"alice@contoso.com\" PASSWORD 'forgotten'")?;
    let listed = server.run_block(&blocks[1])?;
    ensure(listed.contains(alice), || format!("not listed: {listed}"))?;
    server.run_block(&blocks[2])?;
    server.await_keys()?;
    server.lets_in(alice, &server.token(alice)?)?;
    server.refuses(alice, "forgotten")
}

/// The files of the package that the documents name, and the picture in them.
fn documented_files(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("documented-files")?;
    let mut files = BTreeSet::from([format!(
        "/usr/share/doc/postgresql-{}-aadauth/docs/overview/overview.svg",
        prepared.major
    )]);
    for page in [
        "README.md",
        "docs/install.md",
        "docs/entra.md",
        "docs/troubleshooting.md",
    ] {
        let text = fs::read_to_string(source().join(page))?;
        let words = text.split(|c: char| c.is_whitespace() || "`,;:()".contains(c));
        let own = words.filter(|word| {
            (word.starts_with("/usr/share/") || word.starts_with("/usr/lib/"))
                && word.contains("aadauth")
        });
        files.extend(own.map(|file| file.trim_end_matches('.').replace("15", &prepared.major)));
    }
    ensure(files.len() > 1, || format!("{files:?}"))?;
    let listed: Vec<&str> = files.iter().map(String::as_str).collect();
    server
        .machine
        .run(&format!("ls {}", listed.join(" ")))
        .map(drop)
}

fn tokens(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("token")?;
    let machine = &server.machine;
    machine.run(&format!(
        "dpkg -i {} && aadauth-token --version",
        prepared.token_file
    ))?;
    let managed = machine.run(
        "export AZURE_POD_IDENTITY_AUTHORITY_HOST=$(sed -n 's/^  \"imds\": \"\\(.*\\)\",$/\\1/p' /srv/entra/emulator.json)
         aadauth-token --from managed-identity --audience api://aada0000-0000-4000-8000-000000000050 --exec \
             sh -c 'echo ${#PGPASSWORD}'",
    )?;
    ensure(
        managed
            .trim()
            .parse::<u32>()
            .is_ok_and(|length| length > 500),
        || managed.clone(),
    )?;
    let judge = |tenant: &str| {
        machine.try_run(&format!(
            "entra-emulator keys --state /srv/entra >/srv/keys.json
             entra-emulator token --state /srv/entra --authority public --user alice@contoso.com |
                 aadauth-token inspect --keys /srv/keys.json --tenant {tenant} \
                     --audience api://aada0000-0000-4000-8000-000000000050"
        ))
    };
    let printed = judge("6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01")?;
    ensure(
        printed.success && printed.output.ends_with("accepted"),
        || format!("{printed:?}"),
    )?;
    let printed = judge("6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a02")?;
    ensure(
        !printed.success && printed.output.contains("refused: "),
        || format!("{printed:?}"),
    )
}

/// What is released with the packages: docs/install.md.
fn checksums(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("checksums")?;
    server.run_blocks("docs/install.md", "package-checksums")?;
    let check = "cd /srv/packages && LC_ALL=C sha256sum --check SHA256SUMS 2>&1";
    let printed = server
        .machine
        .try_run(&format!("echo >>{}\n{check}", prepared.file))?;
    let name = prepared.file.rsplit('/').next().unwrap_or_default();
    ensure(
        !printed.success && printed.output.contains(&format!("{name}: FAILED")),
        || format!("{printed:?}"),
    )
}
