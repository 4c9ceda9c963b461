//! Group roles whose members the server has to ask the directory about.

mod cache;
mod credentials;
mod failures;
mod kills;
mod members;

use crate::Test;

pub const TESTS: &[Test] = &[
    ("members_of_every_kind_sign_in", members::every_kind),
    ("nested_and_cyclic_groups", members::nested),
    ("a_stranger_is_refused", members::stranger),
    ("a_deleted_principal_is_no_member", members::deleted),
    (
        "an_address_in_the_token_is_never_followed",
        members::claim_sources,
    ),
    ("only_the_directory_denies", members::second_opinion),
    (
        "nobody_is_asked_about_a_token_that_fails_otherwise",
        members::asked_last,
    ),
    (
        "without_a_directory_groups_are_unknown",
        members::not_configured,
    ),
    (
        "names_of_groups_in_a_token_are_not_compared",
        members::names_in_the_claim,
    ),
    (
        "members_in_the_cache_sign_in_while_graph_is_away",
        cache::graph_away,
    ),
    ("a_membership_ends_with_the_ttl", cache::ttl_over),
    ("a_ttl_of_zero_keeps_nothing", cache::ttl_zero),
    (
        "another_directory_does_not_use_the_cache",
        cache::other_directory,
    ),
    (
        "a_hundred_sign_ins_make_one_request",
        cache::hundred_at_once,
    ),
    ("a_bad_graph_is_waited_for_briefly", failures::bad_graph),
    ("a_slow_answer_holds_up_nobody", failures::slow),
    ("a_redirect_is_not_followed", failures::redirect),
    ("problems_are_logged_once", failures::logged_once),
    (
        "a_worker_that_ends_leaves_nobody_waiting",
        failures::worker_ends,
    ),
    ("a_reload_while_a_request_waits", failures::reload),
    ("too_many_requests_are_refused", failures::busy),
    (
        "the_server_stops_at_once_while_a_request_hangs",
        failures::stop,
    ),
    ("every_credential_reaches_graph", credentials::all),
    ("a_secret_that_others_can_read", credentials::open_secret),
    (
        "the_servers_own_secrets_are_in_no_log",
        credentials::in_no_log,
    ),
    ("a_missing_setting_is_named", credentials::missing_setting),
    ("the_proxy_is_used", credentials::proxy),
    (
        "killed_and_cancelled_askers_disturb_nobody",
        kills::killed_askers,
    ),
];
