//! Sign-ins, mappings, rights and sessions from end to end: a real server, a real client, an emulated Entra ID.
//!
//! `cargo test --release --workspace --test sign_in -- prompt::` runs a part. Run as root: servers are
//! started as `postgres`, and PAM service files are written.

mod alternate_hba_file;
mod audit;
mod audit_table;
mod by_name;
mod check_configuration;
mod clients;
mod directory;
mod encodings;
mod explain;
mod fail_closed;
mod group_sync;
mod hba_lines;
mod keys;
mod libpq_options;
mod local_roles;
mod mapping;
mod migration;
mod mistakes;
mod oauth;
mod other_libraries;
mod pam;
mod pooler;
mod principals;
mod prompt;
mod reasons;
mod sentinel;
mod sessions;
mod shared_database;
mod statistics;
mod why;
mod without_pam;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use pg_test::place::{major, pg_config_says};
use pg_test::rig::Rig;
use pg_test::route::Route;
use pg_test::timing::{conclude, trial};
use pg_test::{Result, directory_server, rig};

/// One test: a name that says what must hold, and what tries it.
type Test = (&'static str, fn(&Rig) -> Result<()>);

const MODULES: &[(&str, &[Test])] = &[
    // First those that build other libraries: at the end they would run alone.
    ("without_pam", without_pam::TESTS),
    ("fail_closed", fail_closed::TESTS),
    (
        "alternate_hba_file",
        alternate_hba_file::hostile_hook::TESTS,
    ),
    ("alternate_hba_file", alternate_hba_file::fail_closed::TESTS),
    ("alternate_hba_file", alternate_hba_file::sign_ins::TESTS),
    ("audit", audit::TESTS),
    ("audit_table", audit_table::TESTS),
    ("audit_table", audit_table::dumps::TESTS),
    ("by_name", by_name::TESTS),
    ("check_configuration", check_configuration::TESTS),
    ("clients", clients::TESTS),
    ("directory", directory::TESTS),
    ("encodings", encodings::TESTS),
    ("explain", explain::TESTS),
    ("group_sync", group_sync::members::TESTS),
    ("group_sync", group_sync::names::TESTS),
    ("group_sync", group_sync::unsynchronized::TESTS),
    ("group_sync", group_sync::failures::TESTS),
    ("group_sync", group_sync::races::TESTS),
    ("group_sync", group_sync::on_demand::TESTS),
    ("group_sync", group_sync::large::TESTS),
    ("hba_lines", hba_lines::TESTS),
    ("keys", keys::TESTS),
    ("libpq_options", libpq_options::TESTS),
    ("local_roles", local_roles::TESTS),
    ("mapping", mapping::admins::TESTS),
    ("mapping", mapping::advice::TESTS),
    ("mapping", mapping::concurrent::TESTS),
    ("mapping", mapping::functions::TESTS),
    ("mapping", mapping::guard::TESTS),
    ("mapping", mapping::labels::TESTS),
    ("mapping", mapping::privileged::TESTS),
    ("mapping", mapping::rights::TESTS),
    ("mapping", mapping::terraform::TESTS),
    ("mistakes", mistakes::TESTS),
    ("migration", migration::TESTS),
    ("oauth", oauth::TESTS),
    ("other_libraries", other_libraries::TESTS),
    ("pam", pam::TESTS),
    ("pooler", pooler::TESTS),
    ("principals", principals::TESTS),
    ("prompt", prompt::TESTS),
    ("reasons", reasons::TESTS),
    ("sentinel", sentinel::TESTS),
    ("sessions", sessions::ended::TESTS),
    ("sessions", sessions::expiry::TESTS),
    ("sessions", sessions::loading::TESTS),
    ("sessions", sessions::requests::TESTS),
    ("sessions", sessions::revocation::TESTS),
    ("sessions", sessions::rights::TESTS),
    ("sessions", sessions::seen::TESTS),
    ("sessions", sessions::standby::TESTS),
    ("shared_database", shared_database::TESTS),
    ("statistics", statistics::TESTS),
    ("why", why::TESTS),
];

/// Tests of PAM, or of `trust` lines that are not aadauth's. They do not apply to the method of the alternate HBA file,
/// which has tests of its own for that in `alternate_hba_file`.
const OF_PAM: &[&str] = &[
    "check_configuration::lines_of_pg_hba_conf",
    "check_configuration::lines_of_pg_hba_conf_that_are_fine",
    "check_configuration::pam_service_files",
    "check_configuration::pam_services_of_the_servers_own_file",
    "explain::a_wrong_line_and_an_interruption",
    "fail_closed::pam_file_missing",
    "fail_closed::pam_file_names_another_module",
    "fail_closed::pam_file_lets_another_module_decide",
    "fail_closed::pam_file_without_account_line",
    "hba_lines::line_of_another_pam_service",
    "hba_lines::our_service_spelled_otherwise",
    "hba_lines::trust_line",
    "local_roles::entra_only_mode",
    "pam::a_sign_in_opens_no_shared_library",
    "pam::make_install_keeps_a_changed_service_file_beside",
    "sessions::revoked_after_the_token_was_judged",
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // However many cores there are: they wait more than they work, and each may start servers of its own.
    arguments.test_threads.get_or_insert(6);
    if arguments.list {
        libtest_mimic::run(&arguments, trials(&None)).exit();
    }
    let rig = match Rig::start() {
        Ok(rig) => Some(Arc::new(rig)),
        Err(error) => {
            eprintln!("the tests could not be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials(&rig));
    // `exit` would leave servers behind: everything is dropped first.
    drop(rig);
    conclude("sign_in", &conclusion)
}

/// Whether the server under test was configured with this option.
fn is_built_with(option: &str) -> bool {
    pg_config_says("--configure").is_ok_and(|said| said.contains(option))
}

fn applies(module: &str, test: &str) -> bool {
    let is_of_version = |applies: fn(u32) -> bool| {
        major().is_ok_and(|major| major.parse::<u32>().is_ok_and(applies))
    };
    let is_alternate_hba_file = matches!(Route::of_environment(), Ok(Route::HbaFile));
    match module {
        // require_auth=oauth is the newest of the options.
        "oauth" | "libpq_options" => is_of_version(|major| major >= 18),
        // They start servers of that method whatever the run's.
        "alternate_hba_file" => is_alternate_hba_file,
        // A server of that version, beside the one under test.
        "without_pam" => !is_alternate_hba_file && is_of_version(|major| major == 15),
        _ if test == "mapping::every_admin_administers_who_is_none" => {
            is_of_version(|major| major >= 16)
        }
        _ => !is_alternate_hba_file || !OF_PAM.contains(&test),
    }
}

/// What the server under test lacks for a test, which is then skipped.
fn lacks(module: &str, name: &str) -> Option<&'static str> {
    match module {
        "oauth" if name.starts_with("psql_") && !is_built_with("--with-libcurl") => {
            Some("psql is built without libcurl")
        }
        "audit" if name == "a_flood_is_counted_by_network" && !audit::flood::has_ipv6() => {
            Some("the machine has no IPv6")
        }
        "hba_lines" if name.starts_with("ldap_") && !is_built_with("--with-ldap") => {
            Some("PostgreSQL is built without LDAP")
        }
        _ => None,
    }
}

/// Every test as libtest-mimic wants it; without a rig they can be listed, not run.
fn trials(rig: &Option<Arc<Rig>>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (module, tests) in MODULES {
        for (name, test) in *tests {
            let rig = rig.clone();
            let full_name = format!("{module}::{name}");
            // What says nothing of this method or version is no test of the run.
            if !applies(module, &full_name) {
                continue;
            }
            let lacks = lacks(module, name);
            if let Some(lacks) = lacks {
                eprintln!("skipped: {full_name}: {lacks}");
            }
            let trial = trial(full_name, move || {
                test(rig.as_deref().ok_or("there is no rig")?)
            });
            trials.push(trial.with_ignored_flag(lacks.is_some()));
        }
    }
    for deviation in reasons::first_cases() {
        let rig = rig.clone();
        trials.push(trial(
            format!("reasons::token::{}", deviation.name),
            move || reasons::invalid_token(rig.as_deref().ok_or("there is no rig")?, deviation),
        ));
    }
    trials
}
