//! Options of libpq that have to do with the method, or with several hosts, as docs/clients.md lists them. For
//! OAUTHBEARER, they are tested in `oauth`.

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::place::source;

use crate::Test;
use crate::rig::{OUR_LINES, Rig, ensure};

pub const TESTS: &[Test] = &[
    ("with_a_token", |rig| {
        each(rig, "Token as password", "alice@contoso.com", &rig.alice()?)
    }),
    ("with_a_local_roles_password", |rig| {
        each(rig, "Local role's password", "local", "local password")
    }),
    ("with_two_hosts", with_two_hosts),
];

/// With each option, psql signs in or not, as the page says.
fn each(rig: &Rig, column: &str, role: &str, secret: &str) -> Result<()> {
    let attempt = rig.attempt(&rig.server, role, secret);
    for (option, works) in documented(column)? {
        let printed = attempt.psql(&option, "SELECT current_user")?;
        let is_right = if works {
            printed.success && printed.output == role
        } else {
            is_for_the_option(&printed)
        };
        ensure(is_right, || format!("{option}: {printed:?}"))?;
    }
    Ok(())
}

/// It failed because of `require_auth` or `channel_binding=require`, and nothing else.
pub fn is_for_the_option(printed: &Printed) -> bool {
    let says = ["authentication method requirement \"", "channel binding "];
    !printed.success && says.iter().any(|it| printed.error.contains(it))
}

/// The options in docs/clients.md, and whether its table says that they work, in the column with this title.
///
/// # Errors
/// There is no such column, or a cell says something else.
pub fn documented(column: &str) -> Result<Vec<(String, bool)>> {
    let text = std::fs::read_to_string(source().join("docs/clients.md"))?;
    let mut rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| Option |"))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim));
    let position = rows
        .next()
        .and_then(|mut titles| titles.position(|title| title == column))
        .ok_or("docs/clients.md has no such column")?;
    let options: Vec<(String, bool)> = rows
        .skip(1)
        .map(|mut cells| {
            let option = cells.next().unwrap_or_default().trim_matches('`');
            match cells.nth(position - 1) {
                Some("works") => Ok((option.to_owned(), true)),
                Some("fails") => Ok((option.to_owned(), false)),
                other => Err(format!("{option}: {other:?}").into()),
            }
        })
        .collect::<Result<_>>()?;
    ensure(!options.is_empty(), || {
        "the table has no options".to_owned()
    })?;
    Ok(options)
}

/// A token is good for each of them, so that libpq finds the one that it looks for.
fn with_two_hosts(rig: &Rig) -> Result<()> {
    let [ours, of_replication] = OUR_LINES;
    let lines = ["local replication postgres peer", ours, of_replication];
    let primary = rig.server("options-primary", |plan| plan.hba(&lines))?;
    let person = rig.person(&primary, "someone")?;
    let standby = rig
        .plan("options-standby")?
        .start_standby(rig.run(), &primary)?;
    rig.await_keys(&standby)?;
    let attempt = rig.attempt(&primary, "someone", &rig.token_of(&person)?);
    let (primary, standby) = (primary.port(), standby.port());
    for (wanted, is_standby) in [
        ("read-write", "f"),
        ("primary", "f"),
        ("read-only", "t"),
        ("standby", "t"),
        ("prefer-standby", "t"),
    ] {
        for (one, other) in [(primary, standby), (standby, primary)] {
            let hosts = format!(
                "host=localhost,localhost hostaddr=127.0.0.1,127.0.0.1 port={one},{other} target_session_attrs={wanted}"
            );
            let printed = attempt.psql(&hosts, "SELECT pg_is_in_recovery()")?;
            ensure(printed.success && printed.output == is_standby, || {
                format!("{hosts}: {printed:?}")
            })?;
        }
    }
    Ok(())
}
