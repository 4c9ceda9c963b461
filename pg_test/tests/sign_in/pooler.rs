//! `aadauth.pooler_check`, called as a pooler's module calls it.

use pg_test::Result;
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::{Connection, Refusal};

use crate::Test;
use crate::rig::{OUR_LINES, Rig, Subject, ensure, installed_library};
use crate::sentinel::{PIECE, PIECE_IN_MEMORY, expect_none, pieces, read_memory};

pub const TESTS: &[Test] = &[
    ("it_judges_as_a_sign_in_is_judged", judges),
    ("only_poolers_call_it_and_no_statement", only_poolers),
    ("it_waits_for_no_key", waits_for_no_key),
    ("nor_for_the_directory", waits_for_no_directory),
    ("a_trusted_pooler_asks_about_passwords", passwords),
    ("no_password_is_left_in_memory", leaves_no_password),
    ("what_no_role_can_be_called", no_role),
    ("no_setting_logs_the_credential", logs_no_credential),
    ("it_answers_on_a_standby", on_a_standby),
];

const ACCEPTED: i32 = 1;
const REFUSED: i32 = 0;
pub const TRY_AGAIN: i32 = 2;

/// A pooler's standing session.
pub struct Pooler {
    session: Connection,
    function: u32,
}

impl Pooler {
    /// On a server with the role, once it could let anybody in.
    pub fn connect(server: &Server) -> Result<Pooler> {
        let loaded = "SELECT count(*) = 0 FROM aadauth.check_configuration() WHERE code = 'revocations-not-loaded'";
        until("the revocations are loaded", || {
            Ok((server.sql(loaded)? == "t").then_some(()))
        })?;
        Pooler::connect_as(server, "pgb1")
    }

    fn connect_as(server: &Server, role: &str) -> Result<Pooler> {
        let mut session = server.superuser()?;
        session.query(&format!("SET SESSION AUTHORIZATION {role}"))?;
        let function = session.query("SELECT 'aadauth.pooler_check'::regproc::oid")?;
        let function = function.concat().parse()?;
        Ok(Pooler { session, function })
    }

    fn call(
        &mut self,
        role: &str,
        credential: &str,
    ) -> Result<std::result::Result<(i32, Vec<Refusal>), Refusal>> {
        let arguments = [role.as_bytes(), credential.as_bytes(), b"192.0.2.7"];
        self.session.call(self.function, &arguments)
    }

    /// The answer, the reason and the event's id.
    fn ask(&mut self, role: &str, credential: &str) -> Result<(i32, String, String)> {
        let (answer, notices) = self
            .call(role, credential)?
            .map_err(|refusal| refusal.to_string())?;
        let [notice] = notices.as_slice() else {
            return Err(format!("{notices:?}").into());
        };
        let prefix = format!("role \"{role}\": ");
        let rest = notice.message.strip_prefix(&prefix).unwrap_or_default();
        let (reason, event) = rest.split_once(", event ").ok_or(notice.message.clone())?;
        Ok((answer, reason.to_owned(), event.to_owned()))
    }

    pub fn expect(
        &mut self,
        role: &str,
        credential: &str,
        expected: (i32, &str),
    ) -> Result<String> {
        let (answer, reason, event) = self.ask(role, credential)?;
        ensure((answer, reason.as_str()) == expected, || {
            format!("{role}: {answer}, {reason} and not {expected:?}")
        })?;
        Ok(event)
    }
}

/// A member whom the directory has to be asked about, and somebody else.
fn waits_for_no_directory(rig: &Rig) -> Result<()> {
    let directory = rig.directory_server_with("pooler-directory", |plan, _| {
        Ok(plan
            .set("aadauth.poolers", "pgb1=peer:postgres")
            .set("aadauth.pooler_group_roles", "on")
            // What is not kept must still reach the pooler.
            .set("aadauth.group_cache_ttl", "0"))
    })?;
    let server = &directory.server;
    server.sql("CREATE ROLE pgb1 LOGIN IN ROLE aadauth_pooler")?;
    let mut pooler = Pooler::connect(server)?;
    for (name, expected) in [
        ("alice@contoso.com", (ACCEPTED, "accepted")),
        ("mallory@contoso.com", (REFUSED, "not-a-group-member")),
    ] {
        let token = directory
            .emulator
            .token(Subject::User(name.to_owned()))
            .without("groups")
            .text()?;
        pooler.expect("dba", &token, (TRY_AGAIN, "directory-timed-out"))?;
        until("the directory has answered", || {
            let (answer, reason, _) = pooler.ask("dba", &token)?;
            ensure(
                answer == TRY_AGAIN || (answer, reason.as_str()) == expected,
                || format!("{name}: {answer}, {reason}"),
            )?;
            Ok((answer != TRY_AGAIN).then_some(()))
        })?;
    }
    Ok(())
}

fn passwords(rig: &Rig) -> Result<()> {
    let [ours, of_replication] = OUR_LINES;
    let lines = ["local replication postgres peer", ours, of_replication];
    let mut server = rig.server("pooler-passwords", |plan| {
        plan.hba(&lines)
            .set("aadauth.poolers", "pgb1=peer:postgres")
            .set("aadauth.pooler_local_roles", "on")
    })?;
    server.sql(
        "CREATE ROLE pgb1 LOGIN IN ROLE aadauth_pooler; CREATE ROLE pgb2 LOGIN IN ROLE aadauth_pooler;
         CREATE ROLE clerk LOGIN PASSWORD 'x'; CREATE ROLE other LOGIN PASSWORD 'x';
         CREATE ROLE chief SUPERUSER LOGIN PASSWORD 'x';
         CREATE ROLE writer LOGIN PASSWORD 'x'; GRANT pg_write_all_data TO writer",
    )?;
    let mut pooler = Pooler::connect(&server)?;
    pooler.expect("clerk", "x", (ACCEPTED, "accepted"))?;
    for role in ["chief", "writer"] {
        pooler.expect(role, "x", (REFUSED, "pooled-privileged-role"))?;
    }
    pooler.expect("nobody", "x", (REFUSED, "role-not-mapped"))?;
    // The superuser comes from the same user's processes as the pooler.
    let shown = "SELECT count(*) > 0 FROM aadauth.sign_ins WHERE role = 'postgres' AND outcome = 'authenticated'";
    until("the superuser's sign-ins are shown", || {
        Ok((server.sql(shown)? == "t").then_some(()))
    })?;
    // A member that is not named.
    let mut other = Pooler::connect_as(&server, "pgb2")?;
    other.expect("clerk", "x", (REFUSED, "role-not-mapped"))?;
    // Two minutes at most are touched.
    let mut limited = 0;
    for _ in 0..25 {
        let (answer, reason, _) = pooler.ask("clerk", "y")?;
        ensure(answer == REFUSED, || reason.clone())?;
        limited += usize::from(reason == "pooled-password-limit");
    }
    ensure((5..=15).contains(&limited), || format!("{limited} of 25"))?;
    for (name, value) in [
        ("aadauth.poolers", "pgb1=peer:nobody"),
        ("aadauth.pooler_local_roles", "off"),
    ] {
        let before = server.plan().settings.get(name).cloned();
        server.configure(&[(name, Some(value))])?;
        let mut pooler = Pooler::connect(&server)?;
        pooler.expect("other", "x", (REFUSED, "role-not-mapped"))?;
        server.configure(&[(name, before.as_deref())])?;
    }
    let mut pooler = Pooler::connect(&server)?;
    pooler
        .expect("other", "x", (ACCEPTED, "accepted"))
        .map(drop)
}

/// PostgreSQL's own copies are overwritten by the next call, if its arguments are a little longer. Ours, of which another
/// length is allocated elsewhere, would remain.
fn leaves_no_password(rig: &Rig) -> Result<()> {
    let server = rig.server("pooler-memory", |plan| {
        plan.set("aadauth.poolers", "pgb1=peer:postgres")
            .set("aadauth.pooler_local_roles", "on")
    })?;
    let (password, next) = ("q".repeat(600), "z".repeat(700));
    server.sql(&format!(
        "CREATE ROLE pgb1 LOGIN IN ROLE aadauth_pooler;
         CREATE ROLE clerk LOGIN PASSWORD '{password}'; CREATE ROLE other LOGIN PASSWORD 'x'"
    ))?;
    let mut pooler = Pooler::connect(&server)?;
    let failed = (REFUSED, "password-failed");
    pooler.expect("other", &next, failed)?;
    pooler.expect("clerk", &password, (ACCEPTED, "accepted"))?;
    pooler.expect("other", &next, failed)?;
    let backend = pooler.session.query("SELECT pg_backend_pid()")?.concat();
    let regions = read_memory(&backend)?;
    let count = |byte: u8| {
        let windows = regions
            .iter()
            .flat_map(|(_, content)| content.windows(PIECE_IN_MEMORY));
        let is_of = |piece: &&[u8]| piece.iter().all(|other| *other == byte);
        windows.filter(is_of).count()
    };
    let found = (count(b'q'), count(b'z'));
    ensure(found.0 == 0 && found.1 > 0, || {
        format!("{found:?} pieces of the password, and of the next one")
    })
}

/// A name that would be cut, and one with a NUL: both are refused, and recorded. What cannot be seen is escaped for the
/// pooler's log.
fn no_role(rig: &Rig) -> Result<()> {
    let server = prepared(rig, "pooler-names")?;
    let name = "n".repeat(63);
    let person = rig.person(&server, &name)?;
    let token = rig.token_of(&person)?;
    let mut pooler = Pooler::connect(&server)?;
    pooler.expect(&name, &token, (ACCEPTED, "accepted"))?;
    for name in [format!("{name}n"), format!("{name}\0"), "n".repeat(100_000)] {
        let arguments = [name.as_bytes(), token.as_bytes(), &[b'1'; 1000]];
        let answer = pooler.session.call(pooler.function, &arguments)?;
        let is_refused = matches!(&answer, Ok((REFUSED, notices))
            if notices.iter().any(|notice| notice.message.contains("role-not-mapped")));
        ensure(is_refused, || format!("{answer:?}"))?;
    }
    let recorded = "SELECT count(*) FROM aadauth.sign_in_audit WHERE reason = 'role-not-mapped' AND method = 'pooler'";
    until("they are recorded", || {
        Ok((server.sql(recorded)? == "3").then_some(()))
    })?;
    let arguments = [b"a\nb\x1b".as_slice(), token.as_bytes(), b"unix"];
    let answer = pooler.session.call(pooler.function, &arguments)?;
    let is_escaped = matches!(&answer, Ok((REFUSED, notices))
        if notices.iter().any(|notice| notice.message.starts_with(r#"role "a\x0Ab\x1B": role-not-mapped"#)));
    ensure(is_escaped, || format!("{answer:?}"))
}

fn prepared(rig: &Rig, name: &str) -> Result<Server> {
    let [ours, of_replication] = OUR_LINES;
    let lines = ["local replication postgres peer", ours, of_replication];
    let server = rig.server(name, |plan| plan.hba(&lines))?;
    server.sql(
        "CREATE ROLE pgb1 LOGIN IN ROLE aadauth_pooler; CREATE ROLE clerk LOGIN PASSWORD 'x'",
    )?;
    Ok(server)
}

fn judges(rig: &Rig) -> Result<()> {
    let server = prepared(rig, "pooler")?;
    let person = rig.person(&server, "someone")?;
    let revoked = rig.person(&server, "revoked")?;
    rig.map(
        &server,
        "dba",
        "dba00000-0000-4000-8000-000000000010",
        "group",
    )?;
    server.sql(&format!("SELECT aadauth.revoke('{}')", revoked.object_id))?;
    let own = || rig.user("alice@contoso.com").object_id(person.object_id);
    let good = own().text()?;
    let mut pooler = Pooler::connect(&server)?;
    let accepted = pooler.expect("someone", &good, (ACCEPTED, "accepted"))?;
    let expired = own().expires_in(-600).text()?;
    let strangers = rig.user("mallory@contoso.com").text()?;
    let foreign = own()
        .claim("tid", uuid::Uuid::new_v4().to_string())
        .text()?;
    let mut refused = Vec::new();
    for (role, credential, reason) in [
        ("someone", "guessed", "token-malformed"),
        ("someone", "", "token-malformed"),
        ("someone", expired.as_str(), "expired"),
        ("someone", &strangers, "object-id-mismatch"),
        ("someone", &foreign, "issuer-not-served"),
        ("revoked", &rig.token_of(&revoked)?, "revoked"),
        ("dba", &good, "pooled-group-role"),
        ("clerk", "x", "role-not-mapped"),
        ("nobody", &good, "role-not-mapped"),
    ] {
        refused.push((pooler.expect(role, credential, (REFUSED, reason))?, reason));
        // Nothing remains of it.
        pooler.expect("someone", &good, (ACCEPTED, "accepted"))?;
    }
    let own = pooler
        .session
        .query("SELECT count(*) FROM aadauth.own_principal()")?;
    ensure(own == ["0"], || format!("{own:?}"))?;
    let row = |event: &str| -> Result<String> {
        until("the event is recorded", || {
            let row = server.sql(&format!(
                "SELECT concat_ws(' ', outcome, reason, method, pooler, client_address, tls, upn)
                 FROM aadauth.sign_in_audit WHERE event_id = '{event}'"
            ))?;
            Ok((!row.is_empty()).then_some(row))
        })
    };
    let found = row(&accepted)?;
    ensure(
        found == "authenticated pooler pgb1 192.0.2.7 f alice@contoso.com",
        || found.clone(),
    )?;
    for (event, reason) in &refused {
        let found = row(event)?;
        let expected = format!("refused {reason} pooler pgb1 192.0.2.7 f");
        ensure(found.starts_with(&expected), || found.clone())?;
    }
    // The token shows whose role was meant.
    let expected =
        server.sql("SELECT expected FROM aadauth.why('nobody') WHERE time IS NOT NULL")?;
    ensure(
        expected == "role \"someone\", which the token's principal is mapped to",
        || expected.clone(),
    )?;
    let total =
        server.sql("SELECT sum(count) FROM aadauth.sign_in_audit WHERE method = 'pooler'")?;
    ensure(total == "19", || format!("{total} events"))?;
    let counted = server.sql(
        "SELECT string_agg(value::text, ' ' ORDER BY labels ->> 'outcome') FROM aadauth.statistics
         WHERE labels ->> 'method' = 'pooler' AND labels ->> 'outcome' IN ('authenticated', 'refused')",
    )?;
    ensure(counted == "10 9", || counted)?;
    let explained = server.sql(&format!(
        "SELECT string_agg(outcome, ' ') FROM aadauth.explain_sign_in('{}')",
        refused.get(2).ok_or("none")?.0
    ))?;
    ensure(explained.contains("failed"), || explained)?;
    let log = server.log()?;
    ensure(
        log.contains("refused role \"someone\" to pooler \"pgb1\"")
            && log.contains("role=\"someone\" pooler=\"pgb1\""),
        || "the log does not name the pooler".to_owned(),
    )
}

fn only_poolers(rig: &Rig) -> Result<()> {
    let server = prepared(rig, "poolers-only")?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let mut clerk = Pooler::connect_as(&server, "clerk")?;
    let refusal = clerk.call("someone", &token)?.err().ok_or("answered")?;
    ensure(refusal.sqlstate == "42501", || format!("{refusal:?}"))?;
    let mut pooler = Pooler::connect(&server)?;
    let call = format!("aadauth.pooler_check('someone', '{token}', '192.0.2.7')");
    for statement in [
        format!("SELECT {call}"),
        format!("DO $$ BEGIN PERFORM {call}; END $$"),
        format!("PREPARE asked AS SELECT {call}; EXECUTE asked"),
    ] {
        let refusal = pooler.session.execute(&statement)?.err();
        let refusal = refusal.ok_or_else(|| format!("answered: {statement}"))?;
        ensure(refusal.sqlstate == "0A000", || format!("{refusal:?}"))?;
    }
    // Who may use it is a superuser's to say.
    server.sql("CREATE ROLE manager CREATEROLE")?;
    let granted = server.sql("SET ROLE manager; GRANT aadauth_pooler TO manager");
    ensure(granted.is_err(), || "granted by a manager".to_owned())?;
    pooler
        .expect("someone", &token, (ACCEPTED, "accepted"))
        .map(drop)
}

fn waits_for_no_key(rig: &Rig) -> Result<()> {
    let server = prepared(rig, "pooler-keys")?;
    let person = rig.person(&server, "someone")?;
    let mut pooler = Pooler::connect(&server)?;
    let own = || rig.user("alice@contoso.com").object_id(person.object_id);
    let good = own().text()?;
    let began = std::time::Instant::now();
    let invented = own().header("kid", "never-published").text()?;
    pooler.expect("someone", &invented, (TRY_AGAIN, "key-refresh-timed-out"))?;
    for number in 0..50 {
        let invented = own().header("kid", format!("invented-{number}")).text()?;
        let (answer, reason, _) = pooler.ask("someone", &invented)?;
        ensure(answer != ACCEPTED && reason.starts_with("key-"), || {
            format!("{answer}, {reason}")
        })?;
        // They take nobody's place.
        pooler.expect("someone", &good, (ACCEPTED, "accepted"))?;
        rig.accepted(&server, "someone", &good)?;
    }
    let took = began.elapsed();
    ensure(took.as_secs() < 20, || format!("{took:?}"))?;
    until("the keys have been fetched for it", || {
        let (answer, reason, _) = pooler.ask("someone", &invented)?;
        Ok((answer == REFUSED && reason == "key-refresh-cooling-down").then_some(()))
    })
}

fn logs_no_credential(rig: &Rig) -> Result<()> {
    // Servers that are built for the tests lack it.
    let explains = installed_library()?
        .with_file_name("auto_explain.so")
        .exists();
    let library = if explains { "auto_explain" } else { "" };
    let server = rig.server("pooler-logs", |plan| {
        plan.set("log_min_messages", "debug5")
            .set("log_min_error_statement", "debug5")
            .set("log_statement", "all")
            .set("log_min_duration_statement", "0")
            .set("log_error_verbosity", "verbose")
            .set("log_parameter_max_length", "-1")
            .set("log_parameter_max_length_on_error", "-1")
            .set("debug_print_parse", "on")
            .set("debug_print_plan", "on")
            .set("session_preload_libraries", library)
            .set("auto_explain.log_min_duration", "0")
            .set("auto_explain.log_nested_statements", "on")
            .set("auto_explain.log_verbose", "on")
    })?;
    server.sql("CREATE ROLE pgb1 LOGIN IN ROLE aadauth_pooler")?;
    let person = rig.person(&server, "someone")?;
    let mut pooler = Pooler::connect(&server)?;
    let good = rig.token_of(&person)?;
    let strangers = rig.user("mallory@contoso.com").text()?;
    let malformed = format!("{good}.{good}");
    for token in [&good, &strangers, &malformed] {
        pooler.ask("someone", token)?;
    }
    let activity = server.sql("SELECT json_agg(a) FROM pg_stat_activity AS a")?;
    let log = server.log()?;
    let pieces = pieces(&[&good, &strangers], PIECE);
    for place in [&log, &activity] {
        expect_none(&pieces, place.as_bytes())?;
    }
    // The search is not blind.
    ensure(log.contains("aadauth.pooler_check"), || {
        "the log has no call".to_owned()
    })
}

fn on_a_standby(rig: &Rig) -> Result<()> {
    let primary = prepared(rig, "pooler-primary")?;
    let person = rig.person(&primary, "someone")?;
    let plan = rig.plan("pooler-standby")?;
    let standby = plan.start_standby(rig.run(), &primary)?;
    rig.await_keys(&standby)?;
    let mut pooler = Pooler::connect(&standby)?;
    pooler.expect("someone", &rig.token_of(&person)?, (ACCEPTED, "accepted"))?;
    let strangers = rig.user("mallory@contoso.com").text()?;
    pooler
        .expect("someone", &strangers, (REFUSED, "object-id-mismatch"))
        .map(drop)
}
