//! OAUTHBEARER, which PostgreSQL has since 18, with the library as the validator module.

mod fail_closed;
mod messages;
mod neighbors;
mod psql;
mod tokens;

use pg_test::Result;
use pg_test::emulator::{AUDIENCE, TENANT};
use pg_test::plan::Plan;
use pg_test::route::Route;
use pg_test::server::Server;

use crate::Test;
use crate::rig::Rig;

pub const TESTS: &[Test] = &[
    ("a_token_signs_in", tokens::good),
    (
        "every_invalid_token_is_refused_as_at_the_prompt",
        tokens::invalid,
    ),
    ("a_role_that_is_not_mapped_or_not_there", tokens::unmapped),
    ("replication", tokens::replication),
    ("a_connection_without_tls", tokens::without_tls),
    ("no_part_of_a_token_is_left", tokens::none_left),
    ("a_request_for_the_configuration", messages::discovery),
    ("messages_that_can_t_be_understood", messages::malformed),
    (
        "malformed_messages_hide_no_others",
        messages::malformed_as_invented_roles,
    ),
    ("a_flood_is_logged_at_a_rate", messages::flood),
    ("a_client_that_hangs_up_on_a_refusal", messages::hangs_up),
    ("both_methods_on_one_server", neighbors::both_methods),
    ("another_validator", neighbors::another_validator),
    (
        "another_validator_that_takes_the_hook",
        neighbors::late_hostile_hook,
    ),
    (
        "without_delegate_ident_mapping",
        neighbors::without_delegation,
    ),
    ("library_not_preloaded", fail_closed::not_preloaded),
    ("another_library_takes_the_hook", fail_closed::displaced),
    ("a_role_that_changes", fail_closed::role_changes),
    (
        "a_label_removed_during_the_decision",
        fail_closed::label_removed,
    ),
    ("no_tenant_and_no_keys", fail_closed::unconfigured),
    ("a_panic_and_an_error_in_the_decision", fail_closed::faults),
    ("psql_with_a_device_code", psql::device_code),
    ("psql_with_options", psql::options),
];

/// A line that asks the users (the field of pg_hba.conf) for a token by OAUTHBEARER.
fn line(rig: &Rig, users: &str) -> String {
    line_of(
        rig,
        "hostssl all",
        users,
        "validator=aadauth delegate_ident_mapping=1",
    )
}

/// A line of these connections and users, with these options beside issuer and scope.
fn line_of(rig: &Rig, connections: &str, users: &str, options: &str) -> String {
    format!(
        "{connections} {users} all oauth issuer={} scope=\"{AUDIENCE}/.default\" {options}",
        issuer(rig)
    )
}

fn issuer(rig: &Rig) -> String {
    format!("{}/{TENANT}/v2.0", rig.emulator.authority())
}

/// A server that asks everybody for a token by OAUTHBEARER.
fn server(rig: &Rig, name: &str) -> Result<Server> {
    server_with(rig, name, &[&line(rig, "all")], |plan| plan)
}

fn server_with(
    rig: &Rig,
    name: &str,
    lines: &[&str],
    change: impl FnOnce(Plan) -> Plan,
) -> Result<Server> {
    let is_beside_others = lines.iter().any(|line| line.contains(" pam "));
    rig.server(name, |plan| {
        let plan = if is_beside_others {
            plan
        } else {
            plan.route(Route::Pam)
        };
        change(plan.hba(lines).set("oauth_validator_libraries", "aadauth"))
    })
}
