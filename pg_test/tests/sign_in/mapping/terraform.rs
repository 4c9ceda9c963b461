//! `postgresql_role` and `postgresql_security_label` of Terraform's provider `cyrilgdn/postgresql` 1.26: the statements
//! that it sends. It signs in for each of them, and for each transaction.

use std::thread;

use pg_test::Result;
use pg_test::server::Server;
use uuid::Uuid;

use super::{ALICE, Session, literal};
use crate::Test;
use crate::rig::{Person, Rig, ensure};

pub const TESTS: &[Test] = &[
    ("terraform_applies_twice_and_at_once", applies),
    ("terraform_sets_back_what_has_drifted", drift),
    ("terraform_sets_back_an_admin_as_superuser", drift_to_admin),
    ("terraform_destroys", destroys),
    ("terraform_finds_no_label_of_a_keyword", keyword),
];

const NAMES: [&str; 5] = [
    "carol@contoso.com",
    "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com",
    "Mixed Case",
    "reporting",
    "it's \"quoted\"",
];

/// A provider as the configuration has it: who signs in for each statement.
struct Provider<'a>(Box<dyn Fn() -> Result<Session> + Sync + 'a>);

impl<'a> Provider<'a> {
    fn superuser(server: &'a Server) -> Provider<'a> {
        Provider(Box::new(|| Ok(Session(server.superuser()?))))
    }

    /// An Entra admin.
    fn pipeline(rig: &'a Rig, server: &'a Server) -> Result<Provider<'a>> {
        let pipeline = Person {
            role: "pipeline".to_owned(),
            object_id: Uuid::new_v4(),
        };
        server.sql(&format!(
            "CREATE ROLE pipeline LOGIN;
             SECURITY LABEL FOR pgaadauth ON ROLE pipeline IS 'aadauth,oid={},type=user,admin'",
            pipeline.object_id
        ))?;
        let token = rig.token_of(&pipeline)?;
        Ok(Provider(Box::new(move || {
            Ok(Session(rig.session(server, "pipeline", &token)?))
        })))
    }

    /// The first column of each row.
    fn query(&self, sql: &str) -> Result<Vec<String>> {
        self.0()?.0.query(sql)
    }

    fn transaction(&self, statements: &[String]) -> Result<()> {
        let mut session = self.0()?;
        session.run("BEGIN READ WRITE")?;
        for statement in statements {
            session.run(statement)?;
        }
        session.run("COMMIT")
    }

    /// Plans and applies both resources of a mapped role: what it has changed.
    fn apply(&self, person: &Person) -> Result<Vec<&'static str>> {
        let mut changes = Vec::new();
        let role = &person.role;
        match &self.read_role(role)?[..] {
            [] => {
                self.create_role(role)?;
                changes.push("role created");
            }
            [state] if state == WANTED => {}
            [_] => {
                self.update_role(role)?;
                changes.push("role altered");
            }
            more => return Err(format!("{more:?}").into()),
        }
        ensure(self.read_role(role)? == [WANTED], || role.clone())?;
        let wanted = label(person);
        if self.read_label(role)? != [wanted.as_str()] {
            self.set_label(role, &literal(&wanted))?;
            changes.push("label set");
        }
        // Otherwise the provider fails with an inconsistent result.
        let read = self.read_label(role)?;
        ensure(read == [wanted], || format!("{role}: {read:?}"))?;
        Ok(changes)
    }

    fn create_role(&self, role: &str) -> Result<()> {
        let role = identifier(role);
        self.transaction(&[
            format!(
                "CREATE ROLE {role} WITH VALID UNTIL 'infinity' CONNECTION LIMIT -1 NOSUPERUSER NOCREATEDB \
                 NOCREATEROLE INHERIT LOGIN NOBYPASSRLS NOREPLICATION"
            ),
            format!("ALTER ROLE {role} SET search_path TO DEFAULT"),
        ])
    }

    fn read_role(&self, role: &str) -> Result<Vec<String>> {
        self.query(&format!(
            "SELECT concat_ws(' ', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolconnlimit,
                 COALESCE(rolvaliduntil::TEXT, 'infinity'), rolconfig, rolreplication, rolbypassrls)
             FROM pg_catalog.pg_roles WHERE rolname={}",
            literal(role)
        ))
    }

    /// Of the attributes, those that an admin's label gives. All memberships are revoked, and those are granted again
    /// that it has just read: the page's example ignores changes of them.
    fn update_role(&self, role: &str) -> Result<()> {
        let member_of = self.query(&format!(
            "SELECT pg_get_userbyid(roleid) FROM pg_catalog.pg_auth_members members
             JOIN pg_catalog.pg_roles ON members.member = pg_roles.oid WHERE rolname = {}",
            literal(role)
        ))?;
        let mut statements = locks(role).to_vec();
        let role = identifier(role);
        statements.push(format!("ALTER ROLE {role} WITH NOCREATEDB"));
        statements.push(format!("ALTER ROLE {role} WITH NOCREATEROLE"));
        let groups: Vec<String> = member_of.iter().map(|group| identifier(group)).collect();
        statements.extend(
            groups
                .iter()
                .map(|group| format!("REVOKE {group} FROM {role}")),
        );
        statements.extend(
            groups
                .iter()
                .map(|group| format!("GRANT {group} TO {role}")),
        );
        statements.push(format!("ALTER ROLE {role} SET search_path TO DEFAULT"));
        self.transaction(&statements)
    }

    fn delete_role(&self, role: &str) -> Result<()> {
        let mut statements = locks(role).to_vec();
        statements.push(format!("DROP ROLE {}", identifier(role)));
        self.transaction(&statements)
    }

    fn set_label(&self, role: &str, value: &str) -> Result<()> {
        let role = identifier(role);
        self.query(&format!(
            "SECURITY LABEL  FOR \"pgaadauth\" ON role{role} IS {value}"
        ))
        .map(drop)
    }

    fn read_label(&self, role: &str) -> Result<Vec<String>> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
        let name = if role.chars().all(is_plain) {
            role.to_owned()
        } else {
            identifier(role)
        };
        // It stays open, and the query goes by another connection.
        let mut transaction = self.0()?;
        transaction.run("BEGIN READ WRITE")?;
        let read = self.query(&format!(
            "SELECT label FROM pg_seclabels WHERE objtype = 'role' and objname = {} and provider = 'pgaadauth'",
            literal(&name)
        ))?;
        transaction.run("ROLLBACK")?;
        Ok(read)
    }
}

/// What the provider reads of a role that it has created.
const WANTED: &str = "f t f f t -1 infinity f f";

const OTHER_PRINCIPAL: &str = "belongs to another principal";
/// A local role without a password.
const NOT_MAPPED: &str = "password authentication failed";

fn locks(role: &str) -> [String; 3] {
    let role = literal(role);
    [
        "SET statement_timeout = 0".to_owned(),
        format!("SELECT pg_advisory_xact_lock(oid::bigint) FROM pg_roles WHERE rolname = {role}"),
        format!(
            "SELECT pg_advisory_xact_lock(member::bigint) FROM pg_auth_members
             JOIN pg_roles ON roleid = pg_roles.oid WHERE rolname = {role}"
        ),
    ]
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn label(person: &Person) -> String {
    format!("aadauth,oid={},type=user", person.object_id)
}

fn person(role: &str) -> Person {
    Person {
        role: role.to_owned(),
        object_id: Uuid::new_v4(),
    }
}

/// Two configurations at once, of a superuser and of an Entra admin, and in each all roles at once.
fn applies(rig: &Rig) -> Result<()> {
    let server = rig.server("terraform-applies", |plan| plan)?;
    let providers = [
        Provider::superuser(&server),
        Provider::pipeline(rig, &server)?,
    ];
    let people: Vec<(&Provider, Person)> = providers
        .iter()
        .zip(["", " of the pipeline"])
        .flat_map(|(provider, suffix)| {
            let names = NAMES.iter().map(move |name| format!("{name}{suffix}"));
            names.map(move |name| (provider, person(&name)))
        })
        .collect();
    for expected in [&["role created", "label set"][..], &[]] {
        thread::scope(|scope| {
            let applied: Vec<_> = people
                .iter()
                .map(|(provider, person)| scope.spawn(|| provider.apply(person)))
                .collect();
            applied.into_iter().try_for_each(|applied| {
                let changes = applied.join().map_err(|_| "an apply panicked")??;
                ensure(changes == expected, || format!("{changes:?}"))
            })
        })?;
    }
    for (_, person) in &people {
        rig.accepted(&server, &person.role, &rig.token_of(person)?)?;
    }
    Ok(())
}

/// Both providers set back what a superuser has changed by hand.
fn drift(rig: &Rig) -> Result<()> {
    let server = rig.server("terraform-drift", |plan| plan)?;
    for (provider, role) in both(rig, &server)? {
        let person = person(role);
        provider.apply(&person)?;
        let token = rig.token_of(&person)?;
        let on = format!("SECURITY LABEL FOR pgaadauth ON ROLE {role} IS");
        for (change, refusal, expected) in [
            (
                format!("{on} 'aadauth,oid={ALICE},type=user'"),
                OTHER_PRINCIPAL,
                &["label set"][..],
            ),
            (format!("{on} NULL"), NOT_MAPPED, &["label set"]),
            (
                format!("DROP ROLE {role}"),
                NOT_MAPPED,
                &["role created", "label set"],
            ),
        ] {
            server.sql(&change)?;
            refused(rig, &server, role, &token, refusal)?;
            let changes = provider.apply(&person)?;
            ensure(changes == expected, || format!("{change}: {changes:?}"))?;
            rig.accepted(&server, role, &token)?;
        }
    }
    Ok(())
}

/// A superuser's provider takes the rights with the label; an Entra admin's may not.
fn drift_to_admin(rig: &Rig) -> Result<()> {
    let server = rig.server("terraform-admin", |plan| plan)?;
    let [(superuser, dora), (pipeline, dan)] = both(rig, &server)?;
    for (provider, role) in [(&superuser, dora), (&pipeline, dan)] {
        let person = person(role);
        provider.apply(&person)?;
        let label = literal(&format!("{},admin", label(&person)));
        server.sql(&format!(
            "SECURITY LABEL FOR pgaadauth ON ROLE {role} IS {label}"
        ))?;
        let changes = provider.apply(&person);
        let rights = server.sql(&format!(
            "SELECT rolcreaterole, EXISTS (SELECT FROM pg_auth_members
                 WHERE roleid = 'azure_pg_admin'::regrole AND member = r.oid)
             FROM pg_roles r WHERE rolname = '{role}'"
        ))?;
        match (role == dora, changes, &rights[..]) {
            (true, Ok(changes), "f|f") if changes == ["role altered", "label set"] => {}
            (false, Err(error), "t|t") if error.to_string().contains("42501") => {}
            other => return Err(format!("{role}: {other:?}").into()),
        }
    }
    Ok(())
}

fn destroys(rig: &Rig) -> Result<()> {
    let server = rig.server("terraform-destroys", |plan| plan)?;
    for (provider, role) in both(rig, &server)? {
        let person = person(role);
        provider.apply(&person)?;
        provider.set_label(role, "NULL")?;
        provider.delete_role(role)?;
        refused(rig, &server, role, &rig.token_of(&person)?, NOT_MAPPED)?;
        let left = provider.read_role(role)?;
        ensure(left.is_empty(), || format!("{left:?}"))?;
    }
    Ok(())
}

/// The two providers, and the name of a role for each.
fn both<'a>(rig: &'a Rig, server: &'a Server) -> Result<[(Provider<'a>, &'static str); 2]> {
    Ok([
        (Provider::superuser(server), "dora"),
        (Provider::pipeline(rig, server)?, "dan"),
    ])
}

fn refused(rig: &Rig, server: &Server, role: &str, token: &str, refusal: &str) -> Result<()> {
    let printed = rig.attempt(server, role, token).psql("", "SELECT 1")?;
    ensure(!printed.success && printed.error.contains(refusal), || {
        format!("{printed:?}")
    })
}

/// `pg_seclabels` quotes more names than the provider does.
fn keyword(rig: &Rig) -> Result<()> {
    let server = rig.server("terraform-keyword", |plan| plan)?;
    let provider = Provider::superuser(&server);
    provider.create_role("order")?;
    provider.set_label("order", &literal(&label(&person("order"))))?;
    let read = provider.read_label("order")?;
    ensure(read.is_empty(), || format!("{read:?}"))
}
