//! By which method a server of the tests asks for tokens, and the files that it needs for that.

use std::env;

use crate::Result;
use crate::place::pg_config_says;

/// How a credential gets from the client to the library's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `pam` lines in `pg_hba.conf`.
    Pam,
    /// `trust` lines in the file that `aadauth.hba_file` names, while `pg_hba.conf` rejects.
    HbaFile,
}

/// The file of [`Route::HbaFile`], in the data directory.
pub const ALTERNATE_HBA_FILE: &str = "alternate_hba.conf";

/// The line that lets the tests in.
const BREAK_GLASS: &str = "local all postgres peer";

const REJECT: &[&str] = &[
    BREAK_GLASS,
    "local all,replication all reject",
    "host all,replication all all reject",
];

impl Route {
    /// That of all servers for which nothing else is said: what `AADAUTH_TEST_ROUTE` names, `pam` (as without it) or
    /// `hba-file`. With `oauth`, tests write the lines for that themselves, and others need what the server has.
    ///
    /// # Errors
    /// It names something else, or as [`pg_config_says`].
    pub fn of_environment() -> Result<Route> {
        match env::var("AADAUTH_TEST_ROUTE").as_deref() {
            Err(_) | Ok("" | "pam") => Ok(Route::Pam),
            Ok("oauth") if pg_config_says("--configure")?.contains("--with-pam") => Ok(Route::Pam),
            Ok("hba-file" | "oauth") => Ok(Route::HbaFile),
            Ok(other) => {
                Err(format!("AADAUTH_TEST_ROUTE is {other}, not pam, hba-file or oauth").into())
            }
        }
    }

    /// The files that a server needs for these lines: name and content.
    #[must_use]
    pub fn files(self, lines: &[String]) -> Vec<(&'static str, String)> {
        let content = |lines: &[&str]| lines.join("\n") + "\n";
        let mut all = vec![BREAK_GLASS.to_owned()];
        match self {
            Route::Pam => all.extend_from_slice(lines),
            Route::HbaFile => all.extend(lines.iter().map(|line| on_trust(line))),
        }
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        match self {
            Route::Pam => vec![("pg_hba.conf", content(&all))],
            Route::HbaFile => vec![
                (ALTERNATE_HBA_FILE, content(&all)),
                ("pg_hba.conf", content(REJECT)),
            ],
        }
    }
}

/// An aadauth line as it is written in the alternate HBA file; other lines are unchanged.
fn on_trust(line: &str) -> String {
    let is_ours = |service: &str| {
        let name = service.trim_matches('"').rsplit('/').next();
        name.is_some_and(|name| name.to_ascii_lowercase().starts_with("aadauth"))
    };
    match line.split_once(" pam pamservice=") {
        Some((connections, service)) if is_ours(service) => format!("{connections} trust"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_lines_alone_become_trust() {
        for (line, expected) in [
            (
                "hostssl all all all pam pamservice=aadauth-17",
                "hostssl all all all trust",
            ),
            (
                "local all x pam pamservice=\"/a/AADAUTH\"",
                "local all x trust",
            ),
            (
                "local all x pam pamservice=login",
                "local all x pam pamservice=login",
            ),
            ("local all x peer", "local all x peer"),
        ] {
            assert_eq!(on_trust(line), expected);
        }
    }
}
