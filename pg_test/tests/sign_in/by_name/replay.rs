use pg_test::Result;
use pg_test::process::checked;

use super::fails;
use crate::principals::creates_role_that_is_there;
use crate::rig::{Rig, ensure};

const LIST: &str = "SELECT string_agg(concat_ws(' ', objoid::regrole, provider, label), E'\\n' ORDER BY 1)
    FROM (SELECT objoid, provider, label FROM pg_shseclabel ORDER BY objoid::regrole::text, provider) AS l";

/// Labels by name replay as they were, in either order and with the directory away or none at all.
pub fn dump(rig: &Rig) -> Result<()> {
    let from = rig.directory_server("replay-from")?;
    from.server.sql(
        "SELECT pgaadauth_create_principal('carol@contoso.com', true, true);
         SELECT pgaadauth_create_principal('batch', false, false);
         SELECT pgaadauth_create_principal_with_oid('alice', 'a11ce000-0000-4000-8000-000000000001', 'user', false, true)",
    )?;
    let labels = from.server.sql(LIST)?;
    let mut pg_dumpall = pg_test::process::as_postgres(pg_test::place::program("pg_dumpall")?)?;
    pg_dumpall
        .args(["--roles-only", "-U", "postgres", "-h"])
        .arg(from.server.socket());
    let dump = checked(pg_dumpall.args(["-p", &from.server.port().to_string()]))?;
    ensure(dump.contains("IS 'aadauth,admin,mfa'"), || dump.clone())?;

    for (name, internal_first, has_directory) in [
        ("replay-public-first", false, false),
        ("replay-internal-first", true, false),
        ("replay-asking", false, true),
    ] {
        let script = script(&dump, internal_first);
        let to = rig.directory_server(name)?;
        let mut server = to.server;
        server.sql("DROP ROLE dba, analysts, \"loop-a\", \"loop-b\"")?;
        if !has_directory {
            server.configure(&[("aadauth.credential", None)])?;
        }
        let asked = to.emulator.graph_requests()?;
        server
            .sql(&script)
            .map_err(|error| format!("{name}: {error}"))?;
        let replayed = server.sql(LIST)?;
        ensure(replayed == labels, || {
            format!("{name}:\n{labels}\nbecame\n{replayed}")
        })?;
        let asked = to.emulator.graph_requests()? - asked;
        ensure(asked == 0, || format!("{name}: {asked} requests"))?;
        if has_directory {
            continue;
        }
        // Without the first lines of a dump it counts as a user's statement, and is refused. A dump that is
        // replayed in part lets nobody in.
        let bare = "CREATE ROLE \"mallory@contoso.com\" LOGIN;
                    SECURITY LABEL FOR pgaadauth ON ROLE \"mallory@contoso.com\" IS 'aadauth'";
        fails(&server, bare, &["55000"])?;
        server.sql(&format!(
            "SET default_transaction_read_only = off; SET client_encoding = 'UTF8';
             SET standard_conforming_strings = on; {bare}"
        ))?;
        let token = rig.user("mallory@contoso.com").text()?;
        rig.refused(&server, "mallory@contoso.com", &token, "label-conflict")?;
    }
    Ok(())
}

/// The dump for a server that has the extension's roles, with each role's labels in that order.
fn script(dump: &str, internal_first: bool) -> String {
    let mut lines: Vec<&str> = dump
        .lines()
        .filter(|line| !creates_role_that_is_there(line))
        .filter(|line| !line.starts_with('\\'))
        .collect();
    let is_internal = |line: &str| line.starts_with("SECURITY LABEL FOR \"pgaadauth-int\"");
    let is_label = |line: &str| line.starts_with("SECURITY LABEL FOR ");
    let mut start = 0;
    while let Some(offset) = lines[start..].iter().position(|line| is_label(line)) {
        let first = start + offset;
        let count = lines[first..]
            .iter()
            .take_while(|line| is_label(line))
            .count();
        lines[first..first + count].sort_by_key(|line| is_internal(line) != internal_first);
        start = first + count;
    }
    lines.join("\n")
}
