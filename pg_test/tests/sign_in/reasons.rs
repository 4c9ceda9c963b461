//! For each reason a token that differs from a good one in that respect alone.

use std::collections::BTreeSet;

use entra_emulator::Deviation;
use entra_token::Reason;
use pg_test::Result;
use pg_test::wait::until;
use pg_test::wire::Request;

use crate::rig::{Rig, Subject, ensure};
use crate::{MODULES, Test};

pub const TESTS: &[Test] = &[
    ("good_tokens_sign_in", good_tokens),
    ("every_reason_is_shown_by_a_test", every_reason),
    ("a_role_that_may_not_log_in", not_login),
    ("a_role_whose_time_is_over", role_expired),
    ("another_tenants_label", tenant_mismatch),
    ("a_v2_token_cannot_prove_mfa", mfa_unprovable),
    ("a_client_that_leaves_at_the_prompt", no_password),
    ("entra_sign_in_switched_off", entra_disabled),
];

/// Reasons that no invalid-token case shows, and the test that shows them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("entra-disabled", "reasons::entra_sign_in_switched_off"),
    ("tenant-not-configured", "fail_closed::no_tenant"),
    ("audience-not-configured", "fail_closed::no_audience"),
    ("label-invalid", "fail_closed::damaged_label"),
    ("label-conflict", "fail_closed::labels_that_disagree"),
    (
        "pooled-group-role",
        "pooler::it_judges_as_a_sign_in_is_judged",
    ),
    (
        "pooled-privileged-role",
        "pooler::a_trusted_pooler_asks_about_passwords",
    ),
    (
        "pooled-password-limit",
        "pooler::a_trusted_pooler_asks_about_passwords",
    ),
    ("role-not-login", "reasons::a_role_that_may_not_log_in"),
    ("role-expired", "reasons::a_role_whose_time_is_over"),
    ("tls-required", "hba_lines::connection_without_tls"),
    ("no-password", "reasons::a_client_that_leaves_at_the_prompt"),
    (
        "role-not-mapped",
        "oauth::a_role_that_is_not_mapped_or_not_there",
    ),
    ("token-discovery", "oauth::a_request_for_the_configuration"),
    ("wrong-line", "hba_lines::trust_line"),
    ("mapping-changed", "prompt::label_removed"),
    ("password-disabled", "local_roles::entra_only_mode"),
    (
        "password-failed",
        "local_roles::wrong_password_and_unknown_role_read_alike",
    ),
    (
        "method-refused",
        "local_roles::a_line_without_password_refuses",
    ),
    ("no-verdict", "fail_closed::pam_file_missing"),
    (
        "hba-file-not-in-force",
        "alternate_hba_file::another_file_in_force",
    ),
    ("internal-error", "fail_closed::a_panic_in_the_decision"),
    (
        "audit-unavailable",
        "audit::a_full_disk_refuses_if_it_is_to",
    ),
    ("interrupted", "audit::a_time_out_leaves_one_event"),
    ("signing-keys-unavailable", "fail_closed::no_keys"),
    ("worker-not-running", "fail_closed::worker_not_running"),
    (
        "key-refresh-cooling-down",
        "keys::many_unknown_keys_cause_one_fetch",
    ),
    ("key-refresh-timed-out", "keys::a_slow_authority_times_out"),
    ("tenant-mismatch", "reasons::another_tenants_label"),
    (
        "directory-unavailable",
        "directory::a_bad_graph_is_waited_for_briefly",
    ),
    (
        "directory-timed-out",
        "directory::a_bad_graph_is_waited_for_briefly",
    ),
    ("directory-busy", "directory::too_many_requests_are_refused"),
    ("mfa-unprovable", "reasons::a_v2_token_cannot_prove_mfa"),
    (
        "revocations-unavailable",
        "sessions::closed_until_the_list_is_loaded",
    ),
    (
        "revoked",
        "sessions::a_revoked_principals_valid_token_is_refused",
    ),
];

/// Reasons that can't be reached through a server as it is: the issuer and the version of a token
/// choose the key set, so that a token of another never gets as far as the comparison.
/// `crates/entra-token` tests what they guard.
const OUT_OF_REACH: &[&str] = &["issuer-mismatch", "version-mismatch"];

/// Of the invalid-token cases for each reason the first: the rules are the same in a server as in the test of
/// `crates/entra-emulator` that judges all of them. All of those that reach the server's own search for a key, or its
/// own reading of the client's message.
pub fn first_cases() -> impl Iterator<Item = &'static Deviation> {
    let mut seen = BTreeSet::new();
    let all = Deviation::all().iter();
    all.filter(move |deviation| {
        seen.insert(deviation.expected)
            || deviation.expected == "key-unknown"
            || deviation.name == "leading-space"
    })
}

/// Signs in with an invalid token, which must be refused for the reason that the case names.
pub fn invalid_token(rig: &Rig, deviation: &'static Deviation) -> Result<()> {
    let (role, subject) = subject_of(&deviation.held.to_string())?;
    let token = rig.emulator.token(subject).deviation(deviation).text()?;
    if deviation.expected != "key-unknown" {
        return rig.refused(&rig.server, role, &token, deviation.expected);
    }
    // Another test may have made the worker look for unknown keys a moment ago.
    until("the keys may be refreshed again", || {
        match rig.refused(&rig.server, role, &token, "key-unknown") {
            Ok(()) => Ok(Some(())),
            Err(error) if error.to_string().contains("key-refresh-cooling-down") => Ok(None),
            Err(error) => Err(error),
        }
    })
}

pub fn subject_of(kind: &str) -> Result<(&'static str, Subject)> {
    let alice = || Subject::User("alice@contoso.com".to_owned());
    Ok(match kind {
        "any" | "user" => ("alice@contoso.com", alice()),
        "user-with-mfa" => (
            "carol@contoso.com",
            Subject::User("carol@contoso.com".to_owned()),
        ),
        "group" => ("dba", alice()),
        "service" => (
            "reporting",
            Subject::ServicePrincipal("reporting".to_owned()),
        ),
        other => return Err(format!("unknown kind {other}").into()),
    })
}

fn good_tokens(rig: &Rig) -> Result<()> {
    for kind in ["user", "user-with-mfa", "group", "service"] {
        let (role, subject) = subject_of(kind)?;
        let token = rig.emulator.token(subject).text()?;
        rig.accepted(&rig.server, role, &token)
            .map_err(|error| format!("{kind}: {error}"))?;
    }
    Ok(())
}

fn every_reason(_: &Rig) -> Result<()> {
    let tests: BTreeSet<String> = MODULES
        .iter()
        .flat_map(|(module, tests)| {
            tests
                .iter()
                .map(move |(name, _)| format!("{module}::{name}"))
        })
        .collect();
    for (reason, test) in ELSEWHERE {
        ensure(tests.contains(*test), || {
            format!("{reason}: there is no test {test}")
        })?;
    }
    let shown: BTreeSet<&str> = first_cases()
        .map(|deviation| deviation.expected)
        .chain(ELSEWHERE.iter().map(|(reason, _)| *reason))
        .chain(OUT_OF_REACH.iter().copied())
        .collect();
    let missing: Vec<&str> = Reason::ALL
        .iter()
        .map(|reason| reason.code())
        .filter(|code| !shown.contains(code))
        .collect();
    ensure(missing.is_empty(), || format!("no test shows {missing:?}"))
}

fn not_login(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "sleeper")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&rig.server, "sleeper", &token)?;
    rig.server.sql("ALTER ROLE sleeper NOLOGIN")?;
    rig.refused(&rig.server, "sleeper", &token, "role-not-login")?;
    only_with_the_token(rig, "sleeper")
}

fn role_expired(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "temp")?;
    let token = rig.token_of(&person)?;
    rig.server.sql("ALTER ROLE temp VALID UNTIL 'tomorrow'")?;
    rig.accepted(&rig.server, "temp", &token)?;
    rig.server.sql("ALTER ROLE temp VALID UNTIL 'yesterday'")?;
    rig.refused(&rig.server, "temp", &token, "role-expired")?;
    only_with_the_token(rig, "temp")
}

/// Nobody is told of the role's state who has not proved to be its principal.
fn only_with_the_token(rig: &Rig, role: &str) -> Result<()> {
    let sign_in = rig.sign_in(&rig.server, role, &rig.alice()?)?;
    ensure(sign_in.request == Request::Password, || {
        format!("{role}: {:?}", sign_in.request)
    })?;
    rig.expect_refused(&rig.server, role, &sign_in, "object-id-mismatch")
}

fn tenant_mismatch(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "moved")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&rig.server, "moved", &token)?;
    rig.server.sql(&format!(
        "SECURITY LABEL FOR \"pgaadauth-int\" ON ROLE moved IS
             'type=user,oid={},tenant_id=fab41ca0-0000-4000-8000-00000000000f'",
        person.object_id
    ))?;
    rig.refused(&rig.server, "moved", &token, "tenant-mismatch")
}

fn mfa_unprovable(rig: &Rig) -> Result<()> {
    let carol = || rig.user("carol@contoso.com");
    rig.accepted(&rig.server, "carol@contoso.com", &carol().text()?)?;
    let token = carol().audience(pg_test::emulator::AUDIENCE_V2).text()?;
    rig.refused(&rig.server, "carol@contoso.com", &token, "mfa-unprovable")
}

fn no_password(rig: &Rig) -> Result<()> {
    let (mut connection, mark) = rig.connect(&rig.server, "alice@contoso.com")?;
    connection.request()?;
    drop(connection);
    let event = rig.event(&rig.server, &mark)?;
    ensure(event["reason"] == "no-password", || event.to_string())
}

fn entra_disabled(rig: &Rig) -> Result<()> {
    let server = rig.server("disabled", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&server, "someone", &token)?;
    let mut server = server;
    server.configure(&[("aadauth.authentication", Some("postgresql"))])?;
    rig.refused(&server, "someone", &token, "entra-disabled")
}
