//! What happens to events while the extension is not installed.

use pg_test::Result;

use super::ledger::Ledger;
use crate::rig::{Rig, ensure};

pub fn dropped_and_created(rig: &Rig) -> Result<()> {
    let server = rig.server("audit-extension", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let secrets = [token.as_str(), "no token"];
    let before = Ledger::default();
    before.sign_in_often(rig, &server, "someone", &secrets, 10)?;
    before.expect_each(&server)?;
    let mark = server.log()?.len();
    server.sql_beside_workers("DROP EXTENSION aadauth CASCADE")?;
    let without = Ledger::default();
    without.sign_in_often(rig, &server, "someone", &secrets, 10)?;
    server.wait_for_log(
        mark,
        "sign-ins are not recorded: extension aadauth is not installed",
    )?;
    ensure(without.count(true)? == 10, || {
        "nobody gets in without the extension".to_owned()
    })?;
    server.sql("CREATE EXTENSION aadauth")?;
    without.sign_in_often(rig, &server, "someone", &secrets, 5)?;
    without.expect_each(&server)?;
    ensure(super::ledger::rows(&server)?.len() >= 30, || {
        "events are missing".to_owned()
    })
}
