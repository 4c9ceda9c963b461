//! A standby and a subscription whose identity is revoked.

use pg_test::Result;
use pg_test::rig::{Rig, ensure};
use pg_test::wait::until;

use crate::Test;
use crate::site::{OBJECT_ID, Site, await_rows, sender};
use crate::{standby, subscription};

pub const TESTS: &[Test] = &[("nothing_follows_until_it_is_restored", nothing_follows)];

const REFUSED: &str =
    "The access of this principal or access token to role \"replica\" was revoked";

fn nothing_follows(rig: &Rig) -> Result<()> {
    let mut site = Site::start(rig, "revoked")?;
    site.make(100)?;
    let standby = standby::start(&site, "standby4", &site.primary, &site.passfile)?;
    let subscriber = subscription::start(&site, "revoked-subscriber")?;
    let copies = [&standby, &subscriber];
    for (copy, application) in copies.into_iter().zip(["standby4", "app"]) {
        sender(&site.primary, application, 0)?;
        await_rows(copy, 100)?;
    }
    site.primary
        .configure(&[("synchronous_standby_names", Some("standby4"))])?;
    let marks = [standby.log_length()?, subscriber.log_length()?];
    site.primary
        .sql(&format!("SELECT aadauth.revoke('{OBJECT_ID}')"))?;
    until("no connection is left", || {
        let left = site
            .primary
            .sql("SELECT count(*) FROM pg_stat_replication")?;
        Ok((left == "0").then_some(()))
    })?;
    site.primary
        .configure(&[("synchronous_standby_names", None)])?;
    site.make(200)?;
    for (copy, mark) in copies.into_iter().zip(marks) {
        // When it connects again.
        copy.wait_for_log(mark, REFUSED)?;
        await_rows(copy, 100)?;
    }
    let left = site
        .primary
        .sql("SELECT count(*) FROM pg_stat_replication")?;
    ensure(left == "0", || format!("{left} came back"))?;
    site.primary
        .sql(&format!("SELECT aadauth.restore('{OBJECT_ID}')"))?;
    for copy in copies {
        await_rows(copy, 200)?;
    }
    Ok(())
}
