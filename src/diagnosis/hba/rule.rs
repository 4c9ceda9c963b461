//! A record of an HBA file, as the view `pg_hba_file_rules` shows it.
//!
//! Only PostgreSQL decides which connections a record matches. Here, records are compared by what is written in them,
//! without their addresses. The view shows no quotes, so a quoted name that is also a keyword is treated as the keyword.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::diagnosis::finding::list;

/// A row of `pg_hba_file_rules`. Without a method, the record is invalid.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Rule {
    pub line_number: i32,
    /// Since PostgreSQL 16, where records may be included from other files.
    pub file_name: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub database: Option<Vec<String>>,
    #[serde(default)]
    pub user_name: Option<Vec<String>>,
    pub address: Option<String>,
    pub auth_method: Option<String>,
    #[serde(default)]
    pub options: Option<Vec<String>>,
    pub error: Option<String>,
}

/// A role, with what a record's user field names.
#[derive(Clone, Debug, Default)]
pub struct Login {
    pub name: String,
    /// The roles that it is a direct or indirect member of, itself included.
    pub member_of: BTreeSet<String>,
}

/// How the connections of a record arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Local,
    /// Possibly with TLS.
    Tls,
    WithoutTls,
}

impl Rule {
    pub fn transport(&self) -> Transport {
        match self.kind.as_deref() {
            Some("local") => Transport::Local,
            Some("hostnossl" | "hostgssenc") => Transport::WithoutTls,
            _ => Transport::Tls,
        }
    }

    /// Whether only local connections and those with TLS match the record.
    pub fn requires_tls(&self) -> bool {
        matches!(self.kind.as_deref(), Some("local" | "hostssl"))
    }

    pub fn method(&self) -> &str {
        self.auth_method.as_deref().unwrap_or_default()
    }

    /// The service that a `pam` record names, or PostgreSQL's default.
    pub fn pam_service(&self) -> Option<&str> {
        if self.method() != "pam" {
            return None;
        }
        Some(self.option("pamservice").unwrap_or("postgresql"))
    }

    /// The validator module of an `oauth` record; PostgreSQL adds it if only one is allowed.
    pub fn oauth_validator(&self) -> Option<&str> {
        if self.method() != "oauth" {
            return None;
        }
        self.option("validator")
    }

    /// The value of an option at the end of the record.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().flatten().find_map(|option| {
            let (found, value) = option.split_once('=')?;
            (found == name).then_some(value)
        })
    }

    /// Which roles the user field names, in words: all roles, those that match a regular expression, or some of these mapped
    /// roles; `None` if it names none of them. On PostgreSQL 15, where a slash is part of the name, such a name is taken for a
    /// regular expression as well.
    pub fn affected(&self, roles: &[Login]) -> Option<String> {
        let users = || self.user_name.iter().flatten();
        if self.names_all_users() {
            return Some("all roles".to_owned());
        }
        if let Some(pattern) = users().find(|user| user.starts_with('/')) {
            return Some(format!("roles that match \"{pattern}\""));
        }
        let named = roles.iter().filter(|role| self.names(role));
        let names: Vec<&str> = named.map(|role| role.name.as_str()).collect();
        (!names.is_empty()).then(|| format!("the mapped roles {}", list(&names)))
    }

    /// Whether the user field may match the role: which names a regular expression matches is not looked at.
    pub fn may_match(&self, role: &Login) -> bool {
        self.names_all_users()
            || (self.user_name.iter().flatten()).any(|user| user.starts_with('/'))
            || self.names(role)
    }

    /// Whether the user field matches the role, as far as that is certain without regular expressions.
    pub fn matches(&self, role: &Login) -> bool {
        self.names_all_users() || self.names(role)
    }

    fn names(&self, role: &Login) -> bool {
        let mut users = self.user_name.iter().flatten();
        users.any(|user| match user.strip_prefix('+') {
            Some(group) => role.member_of.contains(group),
            None => *user == role.name,
        })
    }

    /// Whether all connections of its transport match it, except for replication.
    pub fn matches_all(&self) -> bool {
        self.names_all_users() && self.is_for_all_places()
    }

    /// Whether it is for all databases and addresses.
    fn is_for_all_places(&self) -> bool {
        (self.database.iter().flatten()).any(|name| name == "all")
            && self.address.as_deref().is_none_or(|from| from == "all")
    }

    /// Whether it leaves no connection to another record.
    pub fn takes_all_places_of(&self, other: &Rule) -> bool {
        self.is_for_all_places() && other.arrivals() & !self.arrivals() == 0
    }

    /// Whether some connections arrive as both records say.
    pub fn overlaps(&self, other: &Rule) -> bool {
        self.arrivals() & other.arrivals() != 0
    }

    /// How its connections arrive, as a set of bits.
    fn arrivals(&self) -> u8 {
        const LOCAL: u8 = 1;
        const TLS: u8 = 2;
        const PLAIN: u8 = 4;
        const GSS: u8 = 8;
        match self.kind.as_deref() {
            Some("local") => LOCAL,
            Some("hostssl") => TLS,
            Some("hostnossl") => PLAIN | GSS,
            Some("hostgssenc") => GSS,
            Some("hostnogssenc") => TLS | PLAIN,
            _ => TLS | PLAIN | GSS,
        }
    }

    /// Whether it is for replication connections, and no others.
    pub fn is_for_replication(&self) -> bool {
        self.database.as_deref() == Some(&["replication".to_owned()])
    }

    pub fn names_all_users(&self) -> bool {
        self.user_name.iter().flatten().any(|user| user == "all")
    }

    /// Whether this record rejects every connection that matches `other`. Only records that reject all users and addresses
    /// count.
    pub fn rejects_all_of(&self, other: &Rule) -> bool {
        let has = |name: &str| self.database.iter().flatten().any(|own| own == name);
        let kind = match other.transport() {
            Transport::Local => "local",
            Transport::Tls | Transport::WithoutTls => "host",
        };
        self.method() == "reject"
            && self.kind.as_deref() == Some(kind)
            && self.names_all_users()
            && self.address.as_deref().is_none_or(|to| to == "all")
            && (other.database.iter().flatten())
                .all(|name| has(name) || (name != "replication" && has("all")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record without options: type, databases, users, address and method.
    fn rule(record: &str) -> Rule {
        let fields: Vec<&str> = record.split(' ').collect();
        let list = |field: &str| Some(field.split(',').map(str::to_owned).collect());
        Rule {
            kind: fields.first().map(|kind| (*kind).to_owned()),
            database: list(fields[1]),
            user_name: list(fields[2]),
            address: (fields.len() == 5).then(|| fields[3].to_owned()),
            auth_method: fields.last().map(|method| (*method).to_owned()),
            ..Rule::default()
        }
    }

    #[test]
    fn the_roles_that_a_user_field_names() {
        let alice = Login {
            name: "alice".into(),
            member_of: ["alice", "staff"].map(str::to_owned).into(),
        };
        let mapped = Some("the mapped roles \"alice\"");
        for (users, expected) in [
            ("all", Some("all roles")),
            ("bob,all", Some("all roles")),
            ("alice", mapped),
            ("Alice", None),
            ("bob", None),
            ("bob,alice", mapped),
            ("+staff", mapped),
            ("staff", None),
            ("+alice", mapped),
            ("+bosses", None),
            ("/^b", Some("roles that match \"/^b\"")),
        ] {
            let rule = rule(&format!("local all {users} peer"));
            let affected = rule.affected(std::slice::from_ref(&alice));
            assert_eq!(affected.as_deref(), expected, "{users}");
        }
        let all = rule("local all all peer").affected(&[]);
        assert_eq!(all.as_deref(), Some("all roles"));
        assert_eq!(rule("local all alice peer").affected(&[]), None);
    }

    #[test]
    fn transports() {
        for (kind, transport, requires_tls) in [
            ("local", Transport::Local, true),
            ("hostssl", Transport::Tls, true),
            ("host", Transport::Tls, false),
            ("hostnogssenc", Transport::Tls, false),
            ("hostnossl", Transport::WithoutTls, false),
            ("hostgssenc", Transport::WithoutTls, false),
        ] {
            let rule = rule(&format!("{kind} all all trust"));
            assert_eq!(rule.transport(), transport, "{kind}");
            assert_eq!(rule.requires_tls(), requires_tls, "{kind}");
        }
    }

    #[test]
    fn what_a_record_rejects() {
        for (reject, other, expected) in [
            (
                "host all all all reject",
                "hostssl all alice 10.0.0.0 trust",
                true,
            ),
            ("host all all all reject", "local all all trust", false),
            ("local all all reject", "local app alice trust", true),
            ("local all all reject", "host all all all trust", false),
            (
                "hostssl all all all reject",
                "host all all all trust",
                false,
            ),
            (
                "host all all all reject",
                "host replication all all trust",
                false,
            ),
            (
                "host all all all reject",
                "host app,replication all all trust",
                false,
            ),
            (
                "host all,replication all all reject",
                "host replication all all trust",
                true,
            ),
            ("host app all all reject", "host app all all trust", true),
            ("host app all all reject", "host all all all trust", false),
            (
                "host all alice all reject",
                "host all alice all trust",
                false,
            ),
            (
                "host all all 10.0.0.0 reject",
                "host all all 10.0.0.0 trust",
                false,
            ),
            ("host all all all trust", "host all all all trust", false),
        ] {
            let is_rejected = rule(reject).rejects_all_of(&rule(other));
            assert_eq!(is_rejected, expected, "{reject} | {other}");
        }
    }

    #[test]
    fn the_service_of_a_pam_record() {
        assert_eq!(rule("local all all peer").pam_service(), None);
        let mut pam = rule("local all all pam");
        assert_eq!(pam.pam_service(), Some("postgresql"));
        pam.options = Some(vec![
            "pam_use_hostname=1".into(),
            "pamservice=aadauth-15".into(),
        ]);
        assert_eq!(pam.pam_service(), Some("aadauth-15"));
        assert_eq!(pam.oauth_validator(), None);
    }

    #[test]
    fn the_validator_of_an_oauth_record() {
        let mut oauth = rule("hostssl all all all oauth");
        assert_eq!(oauth.oauth_validator(), None);
        oauth.options = Some(vec![
            "issuer=https://a=b/c".into(),
            "validator=aadauth".into(),
        ]);
        assert_eq!(oauth.oauth_validator(), Some("aadauth"));
        assert_eq!(oauth.option("issuer"), Some("https://a=b/c"));
        assert_eq!(oauth.option("issue"), None);
        assert_eq!(oauth.pam_service(), None);
    }
}
