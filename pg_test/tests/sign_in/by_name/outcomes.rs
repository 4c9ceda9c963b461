//! Every kind of principal, mapped by name and by object id, as itself, as a member of a group and as an
//! administrator: the outcome is recorded and compared with `docs/principal-outcomes.md`.

use pg_test::Result;
use pg_test::place::{source, target};
use pg_test::wire::Outcome;

use crate::directory_server::{ALICE, DirectoryServer, GUEST};
use crate::rig::{Rig, Subject, ensure};

struct Kind {
    /// What the table calls it.
    title: &'static str,
    /// Its name in the directory.
    name: &'static str,
    object_id: &'static str,
    word: &'static str,
    /// Who signs in: itself or, for a group, a member.
    subject: fn() -> Subject,
}

const KINDS: [Kind; 6] = [
    Kind {
        title: "user",
        name: ALICE,
        object_id: "a11ce000-0000-4000-8000-000000000001",
        word: "user",
        subject: || Subject::User(ALICE.to_owned()),
    },
    Kind {
        title: "guest",
        name: GUEST,
        object_id: "b0b00000-0000-4000-8000-000000000002",
        word: "user",
        subject: || Subject::User(GUEST.to_owned()),
    },
    Kind {
        title: "group (by a member)",
        name: "dba",
        object_id: "dba00000-0000-4000-8000-000000000010",
        word: "group",
        subject: || Subject::User(ALICE.to_owned()),
    },
    Kind {
        title: "service principal",
        name: "reporting",
        object_id: "4e904700-0000-4000-8000-000000000021",
        word: "service",
        subject: || Subject::ServicePrincipal("reporting".to_owned()),
    },
    Kind {
        title: "managed identity, system-assigned",
        name: "vm-app",
        object_id: "0a7b0000-0000-4000-8000-000000000031",
        word: "service",
        subject: || Subject::ManagedIdentity("vm-app".to_owned()),
    },
    Kind {
        title: "managed identity, user-assigned",
        name: "batch",
        object_id: "ba7c0000-0000-4000-8000-000000000041",
        word: "service",
        subject: || Subject::ManagedIdentity("batch".to_owned()),
    },
];

/// A group that all of them are in.
const GROUP: (&str, &str) = ("analysts", "a4a10000-0000-4000-8000-000000000011");

#[derive(Clone, Copy)]
enum Way {
    ByName,
    ByObjectId,
}

impl Way {
    /// The statement that maps a role of the principal's name.
    fn create(self, name: &str, object_id: &str, word: &str, admin: bool) -> String {
        match self {
            Way::ByName => format!("SELECT pgaadauth_create_principal('{name}', {admin}, false)"),
            Way::ByObjectId => format!(
                "SELECT pgaadauth_create_principal_with_oid('{name}', '{object_id}', '{word}', {admin}, false)"
            ),
        }
    }
}

pub fn table(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("outcomes", |plan, _| {
        Ok(plan.set("aadauth.group_cache_ttl", "0"))
    })?;
    own.server.sql("DROP ROLE dba, analysts")?;
    own.emulator
        .change_members(GROUP.0, &["vm-app", "batch"], &[])?;
    let mut text = "# Supported principal types\n\n\
        Written by the test `by_name::every_principal_by_every_way`, from a server and an emulated directory. In the\n\
        column of the group role the principal is a member of a mapped group, and its token says nothing of groups;\n\
        an Entra admin also maps somebody else by name.\n\n\
        | Principal | Mapped | Role of its own | Group role | Administrator |\n|---|---|---|---|---|\n"
        .to_owned();
    for kind in &KINDS {
        for (way, title) in [(Way::ByName, "by name"), (Way::ByObjectId, "by object id")] {
            let role = mapped(&own, kind, way, false, |own| signs_in(own, kind, kind.name))?;
            let group = through_group(&own, kind, way)?;
            let admin = mapped(&own, kind, way, true, |own| maps_others(own, kind))?;
            text.push_str(&format!(
                "| {} | {title} | {role} | {group} | {admin} |\n",
                kind.title
            ));
        }
    }
    text.push_str("\n| Otherwise | Outcome |\n|---|---|\n");
    for (case, outcome) in others(&own)? {
        text.push_str(&format!("| {case} | {outcome} |\n"));
    }
    std::fs::write(target().join("principal-outcomes.md"), &text)?;
    let committed = std::fs::read_to_string(source().join("docs/principal-outcomes.md"))?;
    ensure(committed == text, || {
        format!(
            "docs/principal-outcomes.md is not what came of it; in target/principal-outcomes.md is:\n{text}"
        )
    })
}

/// Maps the principal, records the outcome, and drops the role.
fn mapped(
    own: &DirectoryServer<'_>,
    kind: &Kind,
    way: Way,
    admin: bool,
    then: impl FnOnce(&DirectoryServer<'_>) -> Result<String>,
) -> Result<String> {
    own.server
        .sql(&way.create(kind.name, kind.object_id, kind.word, admin))?;
    let outcome = then(own)?;
    own.server.sql(&format!("DROP ROLE \"{}\"", kind.name))?;
    Ok(outcome)
}

/// The same through a group role; a group is in this group by its members.
fn through_group(own: &DirectoryServer<'_>, kind: &Kind, way: Way) -> Result<String> {
    own.server
        .sql(&way.create(GROUP.0, GROUP.1, "group", false))?;
    let outcome = signs_in(own, kind, GROUP.0)?;
    own.server.sql("DROP ROLE analysts")?;
    Ok(outcome)
}

fn signs_in(own: &DirectoryServer<'_>, kind: &Kind, role: &str) -> Result<String> {
    let sign_in = own.sign_in(role, &own.silent((kind.subject)())?)?;
    let event = own.rig.event(&own.server, &sign_in.mark)?;
    Ok(match sign_in.outcome {
        Outcome::In => "signs in".to_owned(),
        Outcome::Refused(_) => format!("refused: `{}`", event["reason"].as_str().unwrap_or("?")),
        Outcome::Closed => "the connection was closed".to_owned(),
    })
}

fn maps_others(own: &DirectoryServer<'_>, kind: &Kind) -> Result<String> {
    let token = own.silent((kind.subject)())?;
    let attempt = own.rig.attempt(&own.server, kind.name, &token);
    let printed = attempt.psql(
        "",
        "SELECT pgaadauth_create_principal('mallory@contoso.com', false, false);
         DROP ROLE \"mallory@contoso.com\"",
    )?;
    Ok(match printed.success {
        true => "signs in, maps others".to_owned(),
        false => format!("failed: {}", first_line(&printed.error)),
    })
}

/// What goes wrong, and how.
fn others(own: &DirectoryServer<'_>) -> Result<Vec<(&'static str, String)>> {
    let by_name = |name: &str| -> Result<String> {
        let statement = Way::ByName.create(name, "", "", false);
        let mark = own.server.log()?.len();
        Ok(match own.server.sql(&statement) {
            Ok(_) if own.server.log_since(mark)?.contains("is disabled") => {
                "mapped, with a warning".to_owned()
            }
            Ok(_) => "mapped".to_owned(),
            Err(error) => first_line(&error.to_string()),
        })
    };
    let mut outcomes = vec![("a name that two principals have", by_name("twins")?)];
    outcomes.push(("a disabled account, by name", by_name("dave@contoso.com")?));
    // Groups that contain each other: alice is in both, mallory in neither.
    for (case, user) in [
        (
            "a member of one of two groups that contain each other, by the other's role",
            ALICE,
        ),
        ("a member of neither", "mallory@contoso.com"),
    ] {
        let kind = Kind {
            subject: match user {
                ALICE => || Subject::User(ALICE.to_owned()),
                _ => || Subject::User("mallory@contoso.com".to_owned()),
            },
            ..KINDS[0]
        };
        outcomes.push((case, signs_in(own, &kind, "loop-a")?));
    }
    let batch = &KINDS[5];
    own.server
        .sql(&Way::ByName.create(GROUP.0, "", "", false))?;
    own.server
        .sql(&Way::ByName.create(batch.name, "", "", false))?;
    let token = own.silent((batch.subject)())?;
    own.emulator.delete(batch.name)?;
    let deleted = own.sign_in(batch.name, &token)?;
    outcomes.push((
        "a deleted principal, by a token that has not expired, as itself",
        match deleted.outcome.is_in() {
            true => "signs in".to_owned(),
            false => "refused".to_owned(),
        },
    ));
    outcomes.push((
        "the same, as a member of a group",
        signs_in(own, batch, GROUP.0)?,
    ));
    own.server.sql("DROP ROLE batch")?;
    outcomes.push(("a deleted principal, by name", by_name("batch")?));
    Ok(outcomes)
}

/// The error without what psql puts before it.
fn first_line(error: &str) -> String {
    let line = error
        .lines()
        .find(|line| line.contains("ERROR:"))
        .unwrap_or(error);
    line.split_once("ERROR:  ")
        .map_or(line, |(_, text)| text)
        .to_owned()
}
