//! Memberships: from the token, and from the directory.

use std::net::TcpListener;

use pg_test::Result;
use serde_json::json;
use uuid::Uuid;

use crate::directory_server::{ALICE, DirectoryServer, GUEST, STRANGER};
use crate::rig::{Rig, Subject, ensure};

const ANALYSTS: &str = "a4a10000-0000-4000-8000-000000000011";
/// A group that no role is mapped to.
const STRANGERS: &str = "57a4e000-0000-4000-8000-00000000001e";

fn principals() -> [(&'static str, Subject); 5] {
    [
        ("user", Subject::User(ALICE.to_owned())),
        ("guest", Subject::User(GUEST.to_owned())),
        (
            "service principal",
            Subject::ServicePrincipal("reporting".to_owned()),
        ),
        (
            "system-assigned managed identity",
            Subject::ManagedIdentity("vm-app".to_owned()),
        ),
        (
            "user-assigned managed identity",
            Subject::ManagedIdentity("batch".to_owned()),
        ),
    ]
}

/// The ways in which a token lists groups, and whether the directory is asked.
fn tokens(own: &DirectoryServer<'_>, subject: &Subject) -> Result<[(&'static str, String); 4]> {
    let token = || own.token(subject.clone()).without("groups");
    let claim = own.token(subject.clone());
    Ok([
        ("claim", claim.claim("groups", json!([ANALYSTS])).text()?),
        ("directory", token().text()?),
        ("directory", token().claim("hasgroups", true).text()?),
        (
            "directory",
            token()
                .claim("_claim_names", json!({ "groups": "src1" }))
                .text()?,
        ),
    ])
}

pub fn every_kind(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("kinds", |plan, _| {
        Ok(plan.set("aadauth.group_cache_ttl", "0"))
    })?;
    own.emulator
        .change_members("analysts", &["vm-app", "batch"], &[])?;
    for (kind, subject) in principals() {
        for (expected, token) in tokens(&own, &subject)? {
            let source = own
                .accepted("analysts", &token)
                .map_err(|error| format!("{kind}, {expected}: {error}"))?;
            ensure(source == expected, || {
                format!("{kind}: {source} was asked, not {expected}")
            })?;
        }
        // The same, when they are no members any more; the guest and the application are named in
        // the group itself.
        let name = match &subject {
            Subject::User(name)
            | Subject::ServicePrincipal(name)
            | Subject::ManagedIdentity(name) => name.as_str(),
        };
        let member = if name == ALICE { "dba" } else { name };
        own.emulator.change_members("analysts", &[], &[member])?;
        let token = own.silent(subject)?;
        own.refused("analysts", &token, "not-a-group-member")
            .map_err(|error| format!("{kind}: {error}"))?;
    }
    Ok(())
}

pub fn nested(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("nested")?;
    let alice = own.silent_user(ALICE)?;
    // In analysts through dba; the two loops contain each other, and alice is in loop-b.
    for role in ["dba", "analysts", "loop-a", "loop-b"] {
        own.accepted(role, &alice)
            .map_err(|error| format!("{role}: {error}"))?;
    }
    let stranger = own.silent_user(STRANGER)?;
    for role in ["loop-a", "loop-b"] {
        own.refused(role, &stranger, "not-a-group-member")?;
    }
    // A member of the outer group is no member of the nested one: the guest is in analysts, which contains dba.
    let guest = own.silent_user(GUEST)?;
    own.accepted("analysts", &guest)?;
    own.refused("dba", &guest, "not-a-group-member").map(drop)
}

pub fn stranger(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("stranger")?;
    let stranger = own.silent_user(STRANGER)?;
    let source = own.refused("dba", &stranger, "not-a-group-member")?;
    ensure(source == "directory", || source)?;
    // That is kept as well, for a while.
    let requests = own.requests_during(|| {
        let source = own.refused("dba", &stranger, "not-a-group-member")?;
        ensure(source == "cache", || source)
    })?;
    ensure(requests == 0, || format!("{requests} requests"))?;
    // What is known of one is not said of another, nor of another group.
    own.accepted("dba", &own.silent_user(ALICE)?)?;
    let source = own.refused("analysts", &stranger, "not-a-group-member")?;
    ensure(source == "directory", || source)?;
    // A user role is no group role of the same id, and the directory is not asked about it.
    let nobody = Uuid::new_v4().to_string();
    rig.map_unasked(&own.server, "someone", &nobody, "user", "")?;
    let sign_in = own.sign_in("someone", &stranger)?;
    rig.expect_refused(&own.server, "someone", &sign_in, "object-id-mismatch")
}

pub fn deleted(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("deleted", |plan, _| {
        Ok(plan.set("aadauth.group_cache_ttl", "0"))
    })?;
    let alice = own.silent_user(ALICE)?;
    own.accepted("dba", &alice)?;
    own.emulator.delete(ALICE)?;
    own.refused("dba", &alice, "not-a-group-member")?;
    // The group itself, too.
    let carol = own.silent_user("carol@contoso.com")?;
    own.accepted("dba", &carol)?;
    own.emulator.delete("dba")?;
    own.refused("dba", &carol, "not-a-group-member").map(drop)
}

pub fn claim_sources(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("pointer")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let token = own
        .token(Subject::User(STRANGER.to_owned()))
        .without("groups")
        .claim("_claim_names", json!({ "groups": "src1" }))
        .claim(
            "_claim_sources",
            json!({ "src1": {
                "endpoint": format!("https://localhost:{port}/{ANALYSTS}/getMemberObjects"),
            } }),
        )
        .text()?;
    let source = own.refused("analysts", &token, "not-a-group-member")?;
    ensure(source == "directory", || source)?;
    let came = listener.accept().map(|(_, from)| from);
    ensure(came.is_err(), || {
        format!("the address in the token was asked: {came:?}")
    })
}

pub fn asked_last(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("last")?;
    own.server.sql(
        "SELECT pgaadauth_create_principal_with_oid('twins',
             '7e145000-0000-4000-8000-000000000014', 'group', false, true)",
    )?;
    let with_groups = || own.token(Subject::User(ALICE.to_owned()));
    let alice = || with_groups().without("groups");
    let requests = own.requests_during(|| {
        let expired = alice().expires_in(-3600).text()?;
        rig.refused(&own.server, "dba", &expired, "expired")?;
        let elsewhere = alice().claim("aud", "api://elsewhere").text()?;
        own.refused("dba", &elsewhere, "audience-mismatch")?;
        let nobody = alice().claim("scp", "").text()?;
        own.refused("dba", &nobody, "token-kind-unknown")?;
        // Checked after the membership, and yet before anybody is asked.
        let simple = alice().claim("amr", json!(["pwd"])).text()?;
        own.refused("twins", &simple, "groups-unknown")?;
        // A claim proves a membership.
        let named = with_groups().claim("groups", json!([ANALYSTS])).text()?;
        let source = own.accepted("analysts", &named)?;
        ensure(source == "claim", || source)
    })?;
    ensure(requests == 0, || format!("{requests} requests"))?;
    let requests = own.requests_during(|| own.accepted("dba", &alice().text()?).map(drop))?;
    ensure(requests == 1, || format!("{requests} requests"))
}

/// Assigned groups only, no nested groups, a membership of this hour: only the directory denies a membership, unless the
/// claim is declared complete.
pub fn second_opinion(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server("second-opinion")?;
    let token = |name: &str, groups: serde_json::Value| {
        own.token(Subject::User(name.to_owned()))
            .claim("groups", groups)
            .text()
    };
    let [elsewhere, nowhere] = [token(ALICE, json!([STRANGERS]))?, token(ALICE, json!([]))?];
    let stranger = token(STRANGER, json!([STRANGERS]))?;
    let overflowed = own
        .token(Subject::User(ALICE.to_owned()))
        .claim("groups", json!([STRANGERS]))
        .claim("hasgroups", true)
        .text()?;
    let source = own.accepted("dba", &elsewhere)?;
    ensure(source == "directory", || source)?;
    let requests = own.requests_during(|| {
        let source = own.accepted("dba", &nowhere)?;
        ensure(source == "cache", || source)
    })?;
    ensure(requests == 0, || format!("{requests} requests"))?;
    let source = own.refused("dba", &stranger, "not-a-group-member")?;
    ensure(source == "directory", || source)?;
    own.server
        .configure(&[("aadauth.groups_claim_is_complete", Some("on"))])?;
    for token in [&elsewhere, &nowhere, &stranger] {
        let source = own.refused("dba", token, "not-a-group-member")?;
        ensure(source == "claim", || source)?;
    }
    // A claim that Entra says is not complete.
    own.accepted("dba", &overflowed)?;
    own.server.configure(&[
        ("aadauth.groups_claim_is_complete", None),
        ("aadauth.credential", Some("none")),
    ])?;
    let source = own.refused("dba", &elsewhere, "not-a-group-member")?;
    ensure(source == "claim", || source)?;
    // A directory that does not answer denies as well, and is named.
    own.server
        .configure(&[("aadauth.credential", Some("client_secret"))])?;
    own.emulator.stop()?;
    own.refused("dba", &stranger, "directory-unavailable")
        .map(drop)
}

pub fn not_configured(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("no-directory", |plan, _| {
        Ok(plan.unset("aadauth.credential"))
    })?;
    let alice = own.silent_user(ALICE)?;
    let requests =
        own.requests_during(|| own.refused("dba", &alice, "groups-unknown").map(drop))?;
    ensure(requests == 0, || format!("{requests} requests"))
}

/// Only object ids are compared; names are as good as no claim.
pub fn names_in_the_claim(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server("group-names")?;
    let named = own
        .token(Subject::User(ALICE.to_owned()))
        .claim("groups", json!(["dba", "analysts"]))
        .text()?;
    own.accepted("dba", &named)?;
    own.server
        .configure(&[("aadauth.credential", Some("none"))])?;
    let source = own.refused("dba", &named, "groups-unknown")?;
    ensure(source == "names", || source)
}
