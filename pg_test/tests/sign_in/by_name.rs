//! Roles that are mapped by a name in the directory, and types that it is asked about.

mod concurrent;
mod outcomes;
mod refused;
mod replay;

use pg_test::Result;
use pg_test::server::Server;

use crate::Test;
use crate::directory_server::{ALICE, GUEST};
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("every_principal_by_every_way", outcomes::table),
    ("a_name_becomes_both_labels", labels),
    ("a_label_from_any_database", from_any_database),
    ("a_label_that_is_there_asks_nobody", asked_once),
    ("the_case_of_letters", case_of_letters),
    ("a_disabled_account", disabled),
    ("types_are_checked_where_there_is_a_directory", types),
    ("a_service_has_one_role_by_either_id", either_id),
    ("object_ids_need_no_directory", offline),
    ("each_refusal_has_its_own_error", refused::each),
    ("an_admin_learns_no_paths", refused::no_paths),
    (
        "nobody_is_asked_for_those_who_may_not",
        refused::not_allowed,
    ),
    ("a_cancelled_request_leaves_nothing", refused::cancelled),
    ("a_role_that_is_renamed_meanwhile", concurrent::renamed),
    (
        "an_administrator_who_is_none_when_the_answer_comes",
        concurrent::dismissed,
    ),
    ("a_dump_replays_without_asking", replay::dump),
];

/// Both labels of a role, `-` for none.
fn labels_of(server: &Server, role: &str) -> Result<(String, String)> {
    let label = |provider: &str| {
        server.sql(&format!(
            "SELECT coalesce((SELECT label FROM pg_shseclabel
                 WHERE provider = '{provider}' AND objoid = '\"{role}\"'::regrole), '-')"
        ))
    };
    Ok((label("pgaadauth")?, label("pgaadauth-int")?))
}

fn internal(kind: &str, object_id: &str) -> String {
    format!(
        "type={kind},oid={object_id},tenant_id={}",
        pg_test::emulator::TENANT
    )
}

/// Expects a statement of the superuser's to fail with these words in its error.
fn fails(server: &Server, sql: &str, words: &[&str]) -> Result<()> {
    match server.sql(sql) {
        Ok(rows) => Err(format!("went through: {sql}: {rows}").into()),
        Err(error) => {
            let error = error.to_string();
            words.iter().try_for_each(|word| {
                ensure(error.contains(word), || {
                    format!("{sql}: no {word:?} in: {error}")
                })
            })
        }
    }
}

/// Runs a statement and waits for the line that the server logs of it.
fn warns(server: &Server, sql: &str, text: &str) -> Result<()> {
    let mark = server.log()?.len();
    server.sql(sql)?;
    let line = server.wait_for_log(mark, text)?;
    ensure(line.contains("WARNING"), || line)
}

fn labels(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("by-name")?;
    own.server.sql("DROP ROLE analysts")?;
    for (name, public, kind, object_id) in [
        (
            ALICE,
            "aadauth",
            "user",
            "a11ce000-0000-4000-8000-000000000001",
        ),
        (
            GUEST,
            "aadauth",
            "user",
            "b0b00000-0000-4000-8000-000000000002",
        ),
        (
            "analysts",
            "aadauth",
            "group",
            "a4a10000-0000-4000-8000-000000000011",
        ),
        (
            "reporting",
            "aadauth",
            "service",
            "4e904700-0000-4000-8000-000000000021",
        ),
        (
            "vm-app",
            "aadauth",
            "service",
            "0a7b0000-0000-4000-8000-000000000031",
        ),
        (
            "batch",
            "aadauth",
            "service",
            "ba7c0000-0000-4000-8000-000000000041",
        ),
    ] {
        let answer = own.server.sql(&format!(
            "SELECT pgaadauth_create_principal('{name}', false, false)"
        ))?;
        ensure(answer == format!("Created role for \"{name}\""), || answer)?;
        let found = labels_of(&own.server, name)?;
        ensure(
            found == (public.to_owned(), internal(kind, object_id)),
            || format!("{name}: {found:?}"),
        )?;
    }
    // An administrator of whom a second factor is demanded.
    own.server
        .sql("SELECT pgaadauth_create_principal('carol@contoso.com', true, true)")?;
    let found = labels_of(&own.server, "carol@contoso.com")?;
    let expected = format!(
        "{},admin",
        internal("user", "ca401000-0000-4000-8000-000000000003")
    );
    ensure(found == ("aadauth,admin,mfa".to_owned(), expected), || {
        format!("{found:?}")
    })?;
    let attributes = own.server.sql(
        "SELECT rolcreaterole, rolcreatedb, pg_has_role(oid, 'azure_pg_admin', 'member')
         FROM pg_roles WHERE rolname = 'carol@contoso.com'",
    )?;
    ensure(attributes == "t|t|t", || attributes)
}

fn from_any_database(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("by-name-database")?;
    own.server.sql("CREATE DATABASE elsewhere")?;
    own.server.sql_in(
        "elsewhere",
        "CREATE ROLE \"alice@contoso.com\" LOGIN; CREATE ROLE batch LOGIN;
         SECURITY LABEL FOR pgaadauth ON ROLE \"alice@contoso.com\" IS 'aadauth,admin';
         SECURITY LABEL FOR pgaadauth ON ROLE batch IS 'aadauth'",
    )?;
    let alice = format!(
        "{},admin",
        internal("user", "a11ce000-0000-4000-8000-000000000001")
    );
    let found = labels_of(&own.server, ALICE)?;
    ensure(found == ("aadauth,admin".to_owned(), alice), || {
        format!("{found:?}")
    })?;
    own.accepted_with_claims(ALICE)?;
    let found = labels_of(&own.server, "batch")?;
    let batch = internal("service", "ba7c0000-0000-4000-8000-000000000041");
    ensure(found == ("aadauth".to_owned(), batch), || {
        format!("{found:?}")
    })
}

/// Terraform sets a label again and again.
fn asked_once(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("by-name-once")?;
    own.server
        .sql("SELECT pgaadauth_create_principal('batch', false, false)")?;
    let before = labels_of(&own.server, "batch")?;
    let asked = own.emulator.graph_requests()?;
    own.server
        .sql("SECURITY LABEL FOR pgaadauth ON ROLE batch IS 'aadauth'")?;
    // Another demand of the same principal is nothing that the directory would know of.
    own.server
        .sql("SECURITY LABEL FOR pgaadauth ON ROLE batch IS 'aadauth,mfa'")?;
    let after = labels_of(&own.server, "batch")?;
    ensure(after == ("aadauth,mfa".to_owned(), before.1), || {
        format!("{after:?}")
    })?;
    let more = own.emulator.graph_requests()? - asked;
    ensure(more == 0, || format!("{more} requests"))
}

fn case_of_letters(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("by-name-case")?;
    own.server
        .sql("SELECT pgaadauth_create_principal('Alice@CONTOSO.com', false, false)")?;
    let found = labels_of(&own.server, "Alice@CONTOSO.com")?;
    let alice = internal("user", "a11ce000-0000-4000-8000-000000000001");
    ensure(found == ("aadauth".to_owned(), alice), || {
        format!("{found:?}")
    })?;
    own.accepted_with_claims("Alice@CONTOSO.com")
}

fn disabled(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("by-name-disabled")?;
    let disabled = "the account of \"dave@contoso.com\" is disabled in the directory";
    warns(
        &own.server,
        "SELECT pgaadauth_create_principal('dave@contoso.com', false, false)",
        disabled,
    )?;
    own.server.sql("DROP ROLE \"dave@contoso.com\"")?;
    warns(
        &own.server,
        "SELECT pgaadauth_create_principal_with_oid('dave', 'da7e0000-0000-4000-8000-000000000005', 'user', false, false)",
        disabled,
    )
}

fn types(rig: &Rig) -> Result<()> {
    const REPORTING: &str = "4e904700-0000-4000-8000-000000000021";
    const ITS_APPLICATION: &str = "4e904700-0000-4000-8000-000000000020";
    const NOBODY: &str = "00000000-0000-4000-8000-00000000dead";
    let own = rig.directory_server("by-oid-types")?;
    let create = |object_id: &str, kind: &str| {
        format!(
            "SELECT pgaadauth_create_principal_with_oid('typed', '{object_id}', '{kind}', false, false)"
        )
    };
    let update = |object_id: &str, kind: &str| {
        format!(
            "SELECT pgaadauth_update_principal_with_oid('typed', '{object_id}', '{kind}', false, false)"
        )
    };
    let label = |object_id: &str, kind: &str| {
        format!(
            "SECURITY LABEL FOR pgaadauth ON ROLE typed IS 'aadauth,oid={object_id},type={kind}'"
        )
    };
    let wrong = [
        "22023: incorrect object type provided for principal, given object type: 'user', actual object type: 'service'",
    ];
    let missing =
        ["42704: object id 00000000-0000-4000-8000-00000000dead is not found in the tenant"];
    fails(&own.server, &create(REPORTING, "user"), &wrong)?;
    fails(&own.server, &create(NOBODY, "group"), &missing)?;
    fails(&own.server, &create(NOBODY, "service"), &missing)?;
    let left = own
        .server
        .sql("SELECT count(*) FROM pg_roles WHERE rolname = 'typed'")?;
    ensure(left == "0", || "a role was left behind".to_owned())?;
    // An application's id will do for its service principal, and for nothing else.
    own.server.sql(&create(ITS_APPLICATION, "service"))?;
    fails(&own.server, &update(ITS_APPLICATION, "user"), &["42704"])?;
    own.server.sql(&update(REPORTING, "service"))?;
    for statement in [update(REPORTING, "user"), label(REPORTING, "user")] {
        fails(&own.server, &statement, &wrong)?;
    }
    for statement in [update(NOBODY, "user"), label(NOBODY, "user")] {
        fails(&own.server, &statement, &missing)?;
    }
    own.server
        .sql(&label("ba7c0000-0000-4000-8000-000000000041", "service"))?;
    let found = labels_of(&own.server, "typed")?;
    ensure(
        found.1 == internal("service", "ba7c0000-0000-4000-8000-000000000041"),
        || format!("{found:?}"),
    )
}

/// Without a directory there is no lookup; a directory that does not respond is no reason to refuse.
fn offline(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server_with("by-oid-offline", |plan, _| {
        Ok(plan.set("aadauth.directory_timeout", "2s"))
    })?;
    own.emulator.stop()?;
    let create = |name: &str| {
        let object_id = uuid::Uuid::new_v4();
        format!(
            "SELECT pgaadauth_create_principal_with_oid('{name}', '{object_id}', 'group', false, false)"
        )
    };
    warns(
        &own.server,
        &create("unchecked"),
        "could not check that object id",
    )?;
    warns(
        &own.server,
        "CREATE ROLE labeled LOGIN; SECURITY LABEL FOR pgaadauth ON ROLE labeled IS
             'aadauth,oid=00000000-0000-4000-8000-00000000dead,type=user'",
        "could not check that object id",
    )?;
    own.server.configure(&[("aadauth.credential", None)])?;
    let mark = own.server.log()?.len();
    own.server.sql(&create("never_asked"))?;
    let log = own.server.log_since(mark)?;
    ensure(!log.contains("could not check"), || log)?;
    let roles = own
        .server
        .sql("SELECT count(*) FROM pgaadauth_list_principals(false) WHERE rolname IN ('unchecked', 'labeled', 'never_asked')")?;
    ensure(roles == "3", || roles)
}

/// Its application id and the object id of its service principal.
fn either_id(rig: &Rig) -> Result<()> {
    const IDS: [&str; 2] = [
        "4e904700-0000-4000-8000-000000000020",
        "4e904700-0000-4000-8000-000000000021",
    ];
    let own = rig.directory_server("either-id")?;
    let create = |role: &str, id: &str| {
        format!(
            "SELECT pgaadauth_create_principal_with_oid('{role}', '{id}', 'service', false, false)"
        )
    };
    own.server.sql("CREATE ROLE other LOGIN")?;
    for (first, second) in [(IDS[0], IDS[1]), (IDS[1], IDS[0])] {
        own.server.sql(&create("one", first))?;
        let taken = ["23505", first, "\"one\""];
        fails(&own.server, &create("two", second), &taken)?;
        let label = format!(
            "SECURITY LABEL FOR pgaadauth ON ROLE other IS 'aadauth,oid={second},type=service'"
        );
        fails(&own.server, &label, &taken)?;
        own.server.sql("DROP ROLE one")?;
    }
    fails(
        &own.server,
        &format!(
            "{}; SELECT pgaadauth_create_principal('reporting', false, false)",
            create("one", IDS[0])
        ),
        &["23505"],
    )
}
