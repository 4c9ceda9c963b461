//! `aadauth.audit_sync`, on a disk that fails on request.

use std::fs;

use pg_test::Result;
use pg_test::compiler::shared_library;
use pg_test::wire::Outcome;

use super::ledger::Ledger;
use crate::rig::{Rig, ensure};

pub fn on_disk_first(rig: &Rig) -> Result<()> {
    let place = rig.run().for_server("audit-sync-disk")?;
    let library = place.join("disk.so");
    let here = format!("PLACE=\"{}\"", place.display());
    shared_library("audit/disk.c", &library, &[&here])?;
    let mut server = rig.server("audit-sync", |plan| {
        plan.environment("LD_PRELOAD", &library.display().to_string())
            .set("aadauth.audit_local_sign_ins", "off")
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let seen = Ledger::default();
    // The server runs with fsync off, so every call is the library's.
    let was_called = || fs::remove_file(place.join("called")).is_ok();
    was_called();
    let sign_in = |server: &_, secret: &str| seen.sign_in(rig, server, "someone", secret);
    ensure(sign_in(&server, &token)? == Some(Outcome::In), || {
        "out".to_owned()
    })?;
    ensure(!was_called(), || "forced to disk unasked".to_owned())?;
    server.configure(&[("aadauth.audit_sync", Some("on"))])?;
    ensure(sign_in(&server, &token)? == Some(Outcome::In), || {
        "out".to_owned()
    })?;
    ensure(was_called(), || "not forced to disk".to_owned())?;
    sign_in(&server, "no token")?;
    ensure(!was_called(), || "a refusal is forced to disk".to_owned())?;
    // Before the client is let in, since it isn't where that fails.
    fs::write(place.join("broken"), "")?;
    let mark = server.log()?.len();
    ensure(sign_in(&server, &token)? == Some(Outcome::In), || {
        "out".to_owned()
    })?;
    server.wait_for_log(mark, "could not flush the event of a sign-in to disk: ")?;
    server.configure(&[("aadauth.audit_failure", Some("refuse"))])?;
    let refused = rig.sign_in(&server, "someone", &token)?;
    ensure(refused.outcome.refusal().is_some(), || {
        format!("{:?}", refused.outcome)
    })?;
    server.wait_for_log(mark, "Reason: audit-unavailable")?;
    fs::remove_file(place.join("broken"))?;
    ensure(sign_in(&server, &token)? == Some(Outcome::In), || {
        "out".to_owned()
    })?;
    seen.expect_each(&server)?;
    // It had been written, and is there once.
    let event = rig.event(&server, &refused.mark)?;
    ensure(event["count"] == 1, || event.to_string())
}
