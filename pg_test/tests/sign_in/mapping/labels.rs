//! What the two labels of a role accept, and how setting one writes the other.

use pg_test::Result;

use super::{ALICE, BOB, TENANT, create, internal, no_internal, no_public, public, start};
use crate::Test;
use crate::rig::Rig;

pub const TESTS: &[Test] = &[
    ("a_public_label_writes_the_internal_one", writes_internal),
    ("an_internal_label_writes_the_public_one", writes_public),
    ("a_dump_replays_in_either_order", replayed),
    ("null_clears_both", cleared),
    (
        "a_bare_label_names_the_function_that_needs_no_directory",
        bare,
    ),
    (
        "a_dump_replays_a_bare_label_before_the_internal_one",
        bare_in_a_dump,
    ),
    (
        "what_is_no_label_is_refused_with_what_is_accepted",
        no_label,
    ),
    ("one_principal_has_one_role", one_role),
    (
        "a_label_change_holds_the_lock_until_the_transaction_ends",
        lock,
    ),
    ("labels_are_for_roles", for_roles),
    ("a_dropped_role_leaves_no_label", dropped),
];

fn writes_internal(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "public")?;
    superuser.run("CREATE ROLE r")?;
    for (public_text, internal_text) in [
        (
            format!("aadauth,oid={ALICE},type=user"),
            format!("type=user,oid={ALICE},tenant_id={TENANT}"),
        ),
        (
            format!("aadauth,oid={ALICE},type=group,admin"),
            format!("type=group,oid={ALICE},tenant_id={TENANT},admin"),
        ),
        // Stays as it was typed.
        (
            format!(
                "aadauth,mfa,type=service,admin,oid={}",
                ALICE.to_uppercase()
            ),
            format!("type=service,oid={ALICE},tenant_id={TENANT},admin"),
        ),
    ] {
        superuser.run(&public("r", &public_text))?;
        superuser.expect_labels("r", &public_text, &internal_text)?;
    }
    Ok(())
}

fn writes_public(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "internal")?;
    superuser.run("CREATE ROLE r")?;
    let internal_text = format!("type=user,oid={ALICE},tenant_id={TENANT}");
    superuser.run(&internal("r", &internal_text))?;
    let public_text = format!("aadauth,oid={ALICE},type=user");
    superuser.expect_labels("r", &public_text, &internal_text)?;
    // Another principal: rewritten. It does not mention MFA, so the requirement stays.
    superuser.run(&public("r", &format!("{public_text},mfa")))?;
    let internal_text = format!("type=group,oid={BOB},tenant_id={TENANT},admin");
    superuser.run(&internal("r", &internal_text))?;
    let public_text = format!("aadauth,oid={BOB},type=group,admin,mfa");
    superuser.expect_labels("r", &public_text, &internal_text)
}

fn replayed(rig: &Rig) -> Result<()> {
    // A tenant other than the configured one: what was dumped comes back as it was.
    let tenant = "99999999-8888-4777-8666-555555555555";
    let public_text = format!("aadauth,type=service,oid={},mfa", ALICE.to_uppercase());
    let internal_text = format!("oid={ALICE},tenant_id={tenant},type=service");
    let (_server, mut superuser) = start(rig, "replayed")?;
    superuser.run("CREATE ROLE r; CREATE ROLE s")?;
    superuser.run(&public("r", &public_text))?;
    superuser.run(&internal("r", &internal_text))?;
    superuser.expect_labels("r", &public_text, &internal_text)?;
    superuser.run(&no_internal("r"))?;
    superuser.run(&internal("r", &internal_text))?;
    superuser.run(&public("r", &public_text))?;
    let rewritten = format!("type=service,oid={ALICE},tenant_id={tenant}");
    superuser.expect_labels("r", &public_text, &rewritten)?;
    // Azure's bare public label, whose principal only the internal one knows.
    let internal_text = format!("type=user,oid={BOB},tenant_id={tenant},admin");
    superuser.run(&internal("s", &internal_text))?;
    superuser.run(&public("s", "aadauth,admin"))?;
    superuser.expect_labels("s", "aadauth,admin", &internal_text)
}

fn cleared(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "cleared")?;
    superuser.run("CREATE ROLE r")?;
    for clear in [no_public("r"), no_internal("r")] {
        superuser.run(&public("r", &format!("aadauth,oid={ALICE},type=user")))?;
        superuser.run(&clear)?;
        superuser.expect_labels("r", "-", "-")?;
        superuser.run(&clear)?;
    }
    Ok(())
}

fn bare(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "bare")?;
    superuser.run("CREATE ROLE r")?;
    for bare in ["aadauth", "aadauth,admin", "aadauth,mfa"] {
        let failure = superuser.refused(&public("r", bare), "55000")?;
        failure.expect_in_hint("pgaadauth_create_principal_with_oid")?;
    }
    // Agreeing with the internal label, it is known whom it means; else not.
    let internal_text = format!("type=user,oid={ALICE},tenant_id={TENANT}");
    superuser.run(&internal("r", &internal_text))?;
    superuser.run(&public("r", "aadauth,mfa"))?;
    superuser.failure(&public("r", "aadauth,admin"))?;
    superuser.expect_labels("r", "aadauth,mfa", &internal_text)
}

/// Scripts of pg_dumpall begin with these settings.
fn bare_in_a_dump(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "bare-dump")?;
    superuser.run("CREATE ROLE r")?;
    for setting in [
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SET client_encoding = 'UTF8'",
        "SET standard_conforming_strings = on",
    ] {
        superuser.refused(&public("r", "aadauth,admin,mfa"), "55000")?;
        superuser.run(setting)?;
    }
    superuser.run(&public("r", "aadauth,admin,mfa"))?;
    superuser.expect_labels("r", "aadauth,admin,mfa", "-")?;
    let internal_text = format!("type=user,oid={ALICE},tenant_id={BOB},admin");
    superuser.run(&internal("r", &internal_text))?;
    superuser.expect_labels("r", "aadauth,admin,mfa", &internal_text)?;
    // A dump has the attributes and memberships itself.
    superuser.expect(
        "SELECT rolcreaterole FROM pg_roles WHERE rolname = 'r'",
        "f",
    )?;
    superuser.run("RESET default_transaction_read_only; CREATE ROLE s")?;
    superuser
        .refused(&public("s", "aadauth"), "55000")
        .map(drop)
}

fn no_label(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "no-label")?;
    superuser.run("CREATE ROLE r")?;
    let long = format!("aadauth,oid={ALICE},type=user,{}", "x".repeat(1000));
    for bad in [
        "",
        "aad",
        "aadauth ",
        "aadauth, admin",
        "aadauth,database=x",
        &format!("aadauth,oid={ALICE}"),
        &format!("aadauth,oid={ALICE},type=robot"),
        "aadauth,oid=alice,type=user",
        &format!("aadauth,oid={ALICE},type=user,admin,admin"),
        &long,
    ] {
        let failure = superuser.refused(&public("r", bad), "22023")?;
        failure.expect_in_hint("aadauth[,oid=GUID,type=")?;
    }
    for bad in [
        "",
        "aadauth",
        &format!("type=user,oid={ALICE}"),
        &format!("oid={ALICE}"),
    ] {
        let failure = superuser.refused(&internal("r", bad), "22023")?;
        failure.expect_in_hint("tenant_id=GUID")?;
    }
    superuser.expect_labels("r", "-", "-")
}

fn one_role(rig: &Rig) -> Result<()> {
    let alice = format!("aadauth,oid={ALICE},type=user");
    let (_server, mut superuser) = start(rig, "one-role")?;
    superuser.run("CREATE ROLE r; CREATE ROLE s")?;
    superuser.run(&public("r", &alice))?;
    for taken in [
        public(
            "s",
            &format!("aadauth,oid={},type=user", ALICE.to_uppercase()),
        ),
        // Of another kind it is the same object all the same.
        public("s", &format!("aadauth,oid={ALICE},type=service")),
        internal("s", &format!("type=user,oid={ALICE},tenant_id={TENANT}")),
        create("t", ALICE, "user", false, false),
    ] {
        let failure = superuser.refused(&taken, "23505")?;
        failure.expect_in_message("\"r\"")?;
    }
    superuser.expect("SELECT count(*) FROM pg_roles WHERE rolname = 't'", "0")?;
    // The same id in another tenant is another principal, and the role itself may be labeled again.
    superuser.run(&internal(
        "s",
        &format!("type=user,oid={ALICE},tenant_id={BOB}"),
    ))?;
    superuser.run(&public("r", &format!("{alice},mfa")))?;
    // Agreement with an internal label does not excuse a duplicate.
    superuser.run("DROP ROLE s; CREATE ROLE s")?;
    superuser.run(&no_public("r"))?;
    superuser.run(&public("s", &alice))?;
    superuser.failure(&public("r", &alice)).map(drop)
}

fn lock(rig: &Rig) -> Result<()> {
    const HELD: &str = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()
         AND locktype = 'object' AND classid = 'pg_shseclabel'::regclass
         AND mode = 'ExclusiveLock' AND granted";
    let (_server, mut superuser) = start(rig, "lock")?;
    superuser.run("CREATE ROLE r")?;
    superuser.run("BEGIN")?;
    superuser.expect(HELD, "0")?;
    superuser.run(&public("r", &format!("aadauth,oid={ALICE},type=user")))?;
    superuser.expect(HELD, "1")?;
    superuser.run("COMMIT")?;
    superuser.expect(HELD, "0")
}

fn for_roles(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "for-roles")?;
    superuser.run("CREATE TABLE t ()")?;
    for object in ["TABLE t", "DATABASE postgres"] {
        for provider in ["pgaadauth", "pgaadauth-int"] {
            let sql = format!(
                "SECURITY LABEL FOR \"{provider}\" ON {object} IS 'aadauth,oid={ALICE},type=user'"
            );
            superuser.refused(&sql, "42809")?;
        }
    }
    Ok(())
}

fn dropped(rig: &Rig) -> Result<()> {
    let (_server, mut superuser) = start(rig, "dropped")?;
    superuser.run("CREATE ROLE r")?;
    superuser.run(&public("r", &format!("aadauth,oid={ALICE},type=user")))?;
    superuser.run("DROP ROLE r; CREATE ROLE r")?;
    superuser.expect_labels("r", "-", "-")?;
    superuser.run(&public("r", &format!("aadauth,oid={ALICE},type=user")))
}
