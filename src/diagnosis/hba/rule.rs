//! Which connections a record of `pg_hba.conf` matches, as decided by hba.c (`check_hba`), as far as the record itself
//! shows.
//!
//! The view `pg_hba_file_rules` shows no quotes, so a quoted name that is also a keyword is treated as the keyword. If it
//! is unknown whether two records match the same connection (a host name, `samenet`, a regular expression for databases),
//! they are assumed to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;

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
    pub netmask: Option<String>,
    pub auth_method: Option<String>,
    #[serde(default)]
    pub options: Option<Vec<String>>,
    pub error: Option<String>,
}

/// A role, with what a record's user field matches.
#[derive(Clone, Debug, Default)]
pub struct Login {
    pub name: String,
    /// The roles that it is a direct or indirect member of, itself included.
    pub member_of: BTreeSet<String>,
}

/// Types of connections, as bits.
pub mod transport {
    pub const LOCAL: u8 = 1;
    pub const TLS: u8 = 2;
    pub const PLAIN: u8 = 4;
    pub const GSS: u8 = 8;
}

/// For each regular expression (`/...`) in a user field, the role names that it matches.
pub type Matches = BTreeMap<String, BTreeSet<String>>;

impl Rule {
    /// The types of connections that the record is for.
    pub fn transports(&self) -> u8 {
        use transport::{GSS, LOCAL, PLAIN, TLS};
        match self.kind.as_deref() {
            Some("local") => LOCAL,
            Some("host") => TLS | PLAIN | GSS,
            Some("hostssl") => TLS,
            Some("hostnossl") => PLAIN | GSS,
            Some("hostgssenc") => GSS,
            Some("hostnogssenc") => TLS | PLAIN,
            _ => 0,
        }
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

    /// Whether the record's user field matches the role.
    pub fn matches_role(&self, role: &Login, matches: &Matches) -> bool {
        self.user_name.iter().flatten().any(|user| {
            if let Some(group) = user.strip_prefix('+') {
                return role.member_of.contains(group);
            }
            user == "all"
                || *user == role.name
                || matches
                    .get(user)
                    .is_some_and(|names| names.contains(&role.name))
        })
    }

    pub fn matches_all_roles(&self) -> bool {
        self.user_name.iter().flatten().any(|user| user == "all")
    }

    /// Whether there may be a connection of the role, of one of these types, that both records match by their type,
    /// database and address; their user fields are ignored.
    pub fn overlaps(&self, other: &Rule, role: &Login, transports: u8) -> bool {
        self.transports() & other.transports() & transports != 0
            && self.databases(role).overlaps(&other.databases(role))
            && self.network().overlaps(&other.network())
    }

    /// Whether this record matches each connection that `other` matches, as far as the two records show: in this order,
    /// `other` then never applies.
    pub fn covers(&self, other: &Rule) -> bool {
        let has =
            |list: &Option<Vec<String>>, name: &str| list.iter().flatten().any(|one| one == name);
        let databases = other.database.iter().flatten().all(|name| {
            has(&self.database, name) || (name != "replication" && has(&self.database, "all"))
        });
        let users = other
            .user_name
            .iter()
            .flatten()
            .all(|name| has(&self.user_name, name));
        other.transports() & !self.transports() == 0
            && databases
            && (users || self.matches_all_roles())
            && self.contains_addresses_of(other)
    }

    fn contains_addresses_of(&self, other: &Rule) -> bool {
        let is_all = self
            .address
            .as_deref()
            .is_none_or(|address| address == "all");
        is_all
            || (&self.address, &self.netmask) == (&other.address, &other.netmask)
            || match (self.network(), other.network()) {
                (Network::V4(a, mask), Network::V4(b, other)) => {
                    mask & other == mask && (a ^ b) & mask == 0
                }
                (Network::V6(a, mask), Network::V6(b, other)) => {
                    mask & other == mask && (a ^ b) & mask == 0
                }
                _ => false,
            }
    }

    fn databases(&self, role: &Login) -> Databases {
        let mut databases = Databases::default();
        for name in self.database.iter().flatten() {
            match name.as_str() {
                "all" => databases.all = true,
                "replication" => databases.replication = true,
                "sameuser" => drop(databases.names.insert(role.name.clone())),
                "samerole" | "samegroup" => databases.names.extend(role.member_of.iter().cloned()),
                pattern if pattern.starts_with('/') && !cfg!(feature = "pg15") => {
                    databases.unknown = true;
                }
                name => drop(databases.names.insert(name.to_owned())),
            }
        }
        databases
    }

    fn network(&self) -> Network {
        let Some(address) = &self.address else {
            return Network::Any;
        };
        let mask = self
            .netmask
            .as_ref()
            .and_then(|mask| mask.parse::<IpAddr>().ok());
        match (address.parse::<IpAddr>(), mask) {
            (Ok(IpAddr::V4(address)), Some(IpAddr::V4(mask))) => {
                Network::V4(address.to_bits(), mask.to_bits())
            }
            (Ok(IpAddr::V6(address)), Some(IpAddr::V6(mask))) => {
                Network::V6(address.to_bits(), mask.to_bits())
            }
            _ => Network::Any,
        }
    }
}

#[derive(Default)]
struct Databases {
    all: bool,
    replication: bool,
    unknown: bool,
    names: BTreeSet<String>,
}

impl Databases {
    fn overlaps(&self, other: &Databases) -> bool {
        let matches_some = |databases: &Databases| {
            databases.all || databases.unknown || !databases.names.is_empty()
        };
        let matches_any = |databases: &Databases| databases.all || databases.unknown;
        (self.replication && other.replication)
            || (matches_any(self) && matches_some(other))
            || (matches_any(other) && matches_some(self))
            || !self.names.is_disjoint(&other.names)
    }
}

enum Network {
    /// All addresses, or unknown ones.
    Any,
    V4(u32, u32),
    V6(u128, u128),
}

impl Network {
    fn overlaps(&self, other: &Network) -> bool {
        match (self, other) {
            (Network::Any, _) | (_, Network::Any) => true,
            (Network::V4(a, mask), Network::V4(b, other)) => (a ^ b) & mask & other == 0,
            (Network::V6(a, mask), Network::V6(b, other)) => (a ^ b) & mask & other == 0,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::transport::{LOCAL, PLAIN, TLS};
    use super::*;

    const ALL: u8 = u8::MAX;

    /// A record without options: type, databases, users, address (with a mask) and method.
    fn rule(record: &str) -> Rule {
        let fields: Vec<&str> = record.split(' ').collect();
        let list = |field: &str| Some(field.split(',').map(str::to_owned).collect());
        let (address, netmask) = match fields.as_slice() {
            [_, _, _, address, _] => match address.split_once('/') {
                Some((address, mask)) => (Some(address.to_owned()), Some(mask.to_owned())),
                None => (Some((*address).to_owned()), None),
            },
            _ => (None, None),
        };
        Rule {
            kind: fields.first().map(|kind| (*kind).to_owned()),
            database: list(fields[1]),
            user_name: list(fields[2]),
            address,
            netmask,
            auth_method: fields.last().map(|method| (*method).to_owned()),
            ..Rule::default()
        }
    }

    fn alice() -> Login {
        Login {
            name: "alice".into(),
            member_of: ["alice", "staff"].map(str::to_owned).into(),
        }
    }

    fn overlap(one: &str, other: &str) -> bool {
        let forth = rule(one).overlaps(&rule(other), &alice(), ALL);
        let back = rule(other).overlaps(&rule(one), &alice(), ALL);
        assert_eq!(forth, back, "{one} | {other}");
        forth
    }

    #[test]
    fn users_are_matched_as_hba_c_does() {
        let none = Matches::new();
        for (users, expected) in [
            ("all", true),
            ("alice", true),
            ("Alice", false),
            ("bob", false),
            ("bob,alice", true),
            ("+staff", true),
            ("staff", false),
            ("+alice", true),
            ("+bosses", false),
            ("/^a", false),
        ] {
            let rule = rule(&format!("local all {users} peer"));
            assert_eq!(rule.matches_role(&alice(), &none), expected, "{users}");
        }
        let matches = Matches::from([("/^a".into(), BTreeSet::from(["alice".into()]))]);
        assert!(rule("local all /^a peer").matches_role(&alice(), &matches));
    }

    #[test]
    fn transports_overlap_where_one_connection_can_match_both() {
        let host = "host all all all trust";
        for (other, expected) in [
            ("local all all trust", false),
            ("host all all all trust", true),
            ("hostssl all all all trust", true),
            ("hostnossl all all all trust", true),
            ("hostgssenc all all all trust", true),
        ] {
            assert_eq!(overlap(host, other), expected, "{other}");
        }
        assert!(!overlap(
            "hostssl all all all trust",
            "hostnossl all all all trust"
        ));
        assert!(!overlap(
            "hostgssenc all all all trust",
            "hostnogssenc all all all trust"
        ));
        let (one, other) = (rule(host), rule("hostnossl all all all trust"));
        assert!(!one.overlaps(&other, &alice(), TLS | LOCAL));
        assert!(one.overlaps(&other, &alice(), PLAIN));
    }

    #[test]
    fn databases_overlap_by_name_and_keyword() {
        let record = |databases: &str| format!("local {databases} all trust");
        for (one, other, expected) in [
            ("all", "all", true),
            ("all", "app", true),
            ("app", "app,more", true),
            ("app", "more", false),
            ("all", "replication", false),
            ("replication", "replication", true),
            ("sameuser", "alice", true),
            ("sameuser", "bob", false),
            ("samerole", "staff", true),
            ("samegroup", "bosses", false),
            ("sameuser", "replication", false),
        ] {
            assert_eq!(
                overlap(&record(one), &record(other)),
                expected,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn networks_overlap_where_one_contains_the_other() {
        let record = |address: &str| format!("host all all {address} trust");
        for (one, other, expected) in [
            ("all", "127.0.0.1/255.255.255.255", true),
            ("10.0.0.0/255.0.0.0", "10.1.2.3/255.255.255.255", true),
            ("10.0.0.0/255.0.0.0", "11.1.2.3/255.255.255.255", false),
            ("0.0.0.0/0.0.0.0", "11.1.2.3/255.255.255.255", true),
            ("0.0.0.0/0.0.0.0", "::/::", false),
            ("::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/::", true),
            ("samehost", "10.1.2.3/255.255.255.255", true),
            ("db.example.com", "10.1.2.3/255.255.255.255", true),
        ] {
            assert_eq!(
                overlap(&record(one), &record(other)),
                expected,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn a_record_covers_another_whose_connections_it_matches() {
        for (one, other, expected) in [
            (
                "host all all all reject",
                "hostssl all alice 10.0.0.0/255.0.0.0 trust",
                true,
            ),
            ("host all all all reject", "local all all trust", false),
            ("local all all reject", "local app alice trust", true),
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
                "host all,replication all all reject",
                "host replication all all trust",
                true,
            ),
            ("host app all all reject", "host all all all trust", false),
            (
                "host all alice,bob all reject",
                "host all bob all trust",
                true,
            ),
            ("host all alice all reject", "host all all all trust", false),
            (
                "host all all 10.0.0.0/255.0.0.0 reject",
                "host all all 10.1.0.0/255.255.0.0 trust",
                true,
            ),
            (
                "host all all 10.1.0.0/255.255.0.0 reject",
                "host all all 10.0.0.0/255.0.0.0 trust",
                false,
            ),
            (
                "host all all samenet reject",
                "host all all 10.1.0.0/255.255.0.0 trust",
                false,
            ),
            (
                "host all all 0.0.0.0/0.0.0.0 reject",
                "host all all ::/:: trust",
                false,
            ),
        ] {
            assert_eq!(rule(one).covers(&rule(other)), expected, "{one} | {other}");
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
