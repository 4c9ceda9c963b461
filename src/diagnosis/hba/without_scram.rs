//! Local roles that an aadauth record refuses because they have no SCRAM password.
//!
//! Only those that no other record could let in: nobody is warned of a role that signs in elsewhere.

use std::collections::BTreeSet;

use super::file::{File, asks_for_passwords};
use super::rule::{Login, Rule};
use crate::diagnosis::finding::{Code, Finding, list};
use crate::diagnosis::statement::identifier;

/// A local role that may log in, with an MD5 password or none.
#[derive(Clone, Debug, Default)]
pub struct WithoutScram {
    pub login: Login,
    pub has_password: bool,
}

impl File {
    /// One finding for all of these roles for which an aadauth record is the first.
    pub(super) fn without_scram(&self, roles: &[WithoutScram]) -> Option<Finding> {
        let records: Vec<&Rule> = self.records().collect();
        let (mut names, mut places, mut with_md5) = (Vec::new(), BTreeSet::new(), 0);
        for role in roles {
            if let Some(own) = refusing(&records, role) {
                names.push(role.login.name.as_str());
                places.insert(self.place(own));
                with_md5 += usize::from(role.has_password);
            }
        }
        let noun = if names.len() == 1 { "role" } else { "roles" };
        let places: Vec<String> = places.into_iter().collect();
        (!names.is_empty()).then(|| {
            Finding::new(
                Code::LocalRoleWithoutScram,
                format!("{} local {noun}: {}", names.len(), list(&names)),
                format!(
                    "The first record that matches is an aadauth record ({}). Of local roles, it accepts only SCRAM \
                     passwords, so these are refused: {with_md5} with an MD5 password, {} without a password.",
                    places.join(", "),
                    names.len() - with_md5
                ),
                remedy(&names),
            )
        })
    }
}

/// The first record for the role, if it is certain to be an aadauth record, and no other lets the role in.
fn refusing<'a>(records: &[&'a Rule], role: &WithoutScram) -> Option<&'a Rule> {
    let login = &role.login;
    let (own, others): (Vec<_>, Vec<_>) = records
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, rule)| !rule.is_for_replication())
        .partition(|(_, rule)| asks_for_passwords(rule));
    let own = || own.iter().filter(|(_, rule)| rule.matches(login));
    let others = || others.iter().filter(|(_, rule)| rule.may_match(login));
    let is_reached = |&(at, other): &(usize, &Rule)| {
        !own().any(|(earlier, own)| *earlier < at && own.takes_all_places_of(other))
    };
    let may_enter = others()
        .filter(|(_, other)| may_accept(other.method(), role.has_password))
        .any(is_reached);
    let is_first = |(at, own): &&(usize, &Rule)| {
        let mut before = others().filter(|(earlier, _)| earlier < at);
        // A record that rejects everybody from some addresses leaves the others to what follows.
        let rejects_some = |other: &Rule| {
            other.method() == "reject" && other.names_all_users() && !other.rejects_all_of(own)
        };
        !before.any(|(_, other)| other.overlaps(own) && !rejects_some(other))
    };
    let (_, first) = own().find(is_first)?;
    (!may_enter).then_some(*first)
}

/// Whether a record with this method may let in a role without a SCRAM password. A role with a password uses it.
fn may_accept(method: &str, has_password: bool) -> bool {
    match method {
        "reject" | "scram-sha-256" => false,
        "md5" | "password" => has_password,
        "peer" | "ident" => !has_password,
        _ => true,
    }
}

/// Commands for psql. What follows a line break in a name would be a command by itself: such names are left out.
fn remedy(names: &[&str]) -> String {
    // Keeps the text short; for more, run the function again.
    const AT_ONCE: usize = 20;
    let on_one_line = names.iter().filter(|name| !name.contains(char::is_control));
    let commands: String = on_one_line
        .take(AT_ONCE)
        .map(|name| format!("\n\\password {}", identifier(name)))
        .collect();
    format!(
        "Map the role, or end its LOGIN (ALTER ROLE ... NOLOGIN), or give it a SCRAM password in psql:\nSET \
         password_encryption = 'scram-sha-256';{commands}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "pam pamservice=aadauth-15";

    /// A record: type, databases, users, address unless it is local, method, options.
    fn rule(record: &str) -> Rule {
        let mut fields: Vec<&str> = record.split(' ').collect();
        if fields[0] == "local" {
            fields.insert(3, "");
        }
        let list = |field: &str| Some(field.split(',').map(str::to_owned).collect());
        Rule {
            kind: Some(fields[0].to_owned()),
            database: list(fields[1]),
            user_name: list(fields[2]),
            address: Some(fields[3].to_owned()).filter(|address| !address.is_empty()),
            auth_method: Some(fields[4].to_owned()),
            options: Some(
                fields[5..]
                    .iter()
                    .map(|option| (*option).to_owned())
                    .collect(),
            ),
            ..Rule::default()
        }
    }

    /// Which record refuses a role `old` of the group `users`: with an MD5 password, and without a password.
    fn refused(records: &[&str]) -> [Option<usize>; 2] {
        let rules: Vec<Rule> = records
            .iter()
            .map(|record| rule(&record.replace("ours", OWN)))
            .collect();
        let rules: Vec<&Rule> = rules.iter().collect();
        [true, false].map(|has_password| {
            let login = Login {
                name: "old".into(),
                member_of: ["old", "users"].map(str::to_owned).into(),
            };
            let first = refusing(
                &rules,
                &WithoutScram {
                    login,
                    has_password,
                },
            )?;
            rules.iter().position(|rule| std::ptr::eq(*rule, first))
        })
    }

    #[test]
    fn roles_that_only_an_aadauth_record_takes() {
        let both = |index| [Some(index); 2];
        let (with_md5, without) = ([Some(1), None], [None, Some(1)]);
        for (records, expected) in [
            (&["hostssl all all all ours"][..], both(0)),
            (&["hostssl all +users all ours"], both(0)),
            (&["hostssl all old 10.0.0.0/8 ours"], both(0)),
            // Which roles a regular expression matches is not certain.
            (&["hostssl all /^o all ours"], [None; 2]),
            (&["hostssl all another all ours"], [None; 2]),
            (&["hostssl replication all all ours"], [None; 2]),
            (&["hostssl all all all oauth validator=aadauth"], [None; 2]),
        ] {
            assert_eq!(refused(records), expected, "{records:?}");
        }
        let own = "hostssl all all all ours";
        for (before, expected) in [
            ("local all postgres peer", both(1)),
            ("local all all peer", with_md5),
            ("local all all md5", without),
            ("local all all trust", [None; 2]),
            ("hostnossl all all all reject", both(1)),
            ("hostnossl all all all md5", without),
            ("host all all 10.0.0.0/8 reject", both(1)),
            ("host all all all reject", [None; 2]),
            ("host all old 10.0.0.0/8 reject", [None; 2]),
            ("host all +users all md5", [None; 2]),
            ("host all /^x all md5", [None; 2]),
            // It refuses them, too, and is the first.
            ("host app all 10.0.0.0/8 scram-sha-256", [None; 2]),
            ("hostgssenc app all 10.0.0.0/8 scram-sha-256", both(1)),
            ("hostnogssenc app all 10.0.0.0/8 scram-sha-256", [None; 2]),
            ("local all all scram-sha-256", both(1)),
            ("host replication all all md5", both(1)),
            ("hostssl all another all cert", both(1)),
            ("hostssl all old all cert", [None; 2]),
        ] {
            assert_eq!(refused(&[before, own]), expected, "{before}");
        }
        for (records, expected) in [
            // Without TLS, the second record takes them.
            (&[own, "host all all all md5"][..], [None, Some(0)]),
            (&[own, "hostssl all all all md5"], both(0)),
            (&[own, "hostgssenc all all all md5"], [None, Some(0)]),
            (
                &[
                    "hostnogssenc all all all ours",
                    "hostgssenc all all all scram-sha-256",
                ],
                both(0),
            ),
            (&[own, "local all all md5"], [None, Some(0)]),
            (
                &["hostssl app all all ours", "hostssl all all all md5"],
                [None, Some(0)],
            ),
            (
                &["hostssl all all ::1/128 ours", "hostssl all all all ldap"],
                [None; 2],
            ),
            (
                &["hostssl app all all ours", own, "hostssl all all all ldap"],
                both(0),
            ),
            (
                &[
                    "host all all 10.0.0.0/8 scram-sha-256",
                    "local all all ours",
                ],
                both(1),
            ),
        ] {
            assert_eq!(refused(records), expected, "{records:?}");
        }
    }

    #[test]
    fn a_name_cannot_add_a_command() {
        let said = remedy(&["a", "b\n\\! id", "c\r\\! id", "d"]);
        assert!(
            said.ends_with(";\n\\password \"a\"\n\\password \"d\""),
            "{said}"
        );
    }
}
