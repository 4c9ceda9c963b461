use entra_token::{Authority, Cloud};
use uuid::Uuid;

use super::*;

const HOUR: i64 = 3_600_000_000;
const COOLDOWN: Duration = Duration::from_secs(30);

fn scope(tenant: u128, host: Option<&str>) -> Scope {
    let authority = Authority {
        cloud: Cloud::Public,
        host: host.map(str::to_owned),
    };
    Scope {
        authority,
        tenant: Uuid::from_u128(tenant),
    }
}

fn policy(scope: &Scope, now: i64) -> KeyPolicy {
    let max_age = Duration::from_secs(7 * 24 * 3600);
    KeyPolicy {
        scope: scope.clone(),
        max_age,
        file_is_set: true,
        now,
    }
}

fn sourced(scope: &Scope, version: TokenVersion, source: Source) -> SourcedSet {
    let key = SigningKey {
        key_id: "key".to_owned(),
        modulus: vec![0xAB; 512],
        exponent: vec![1, 0, 1],
    };
    let set = KeySet {
        version,
        issuer: scope.issuer(version),
        keys: vec![key],
    };
    SourcedSet {
        set,
        source,
        fetched_at: 0,
    }
}

fn table(scope: &Scope, source: Source) -> KeyTable {
    let mut table = KeyTable::EMPTY;
    table.publish(scope, &[sourced(scope, TokenVersion::V1, source)]);
    table
}

fn wait(requests: u64) -> RefreshRequest {
    RefreshRequest::Wait(Awaited::Requests(requests))
}

fn process(number: i32) -> Process {
    Process::from_number(number).unwrap()
}

#[test]
fn keys_are_used_for_their_issuer_only() {
    let own = scope(1, None);
    let table = table(&own, Source::Network);
    let find =
        |version, issuer: &str, key_id| table.lookup(&policy(&own, 0), version, issuer, key_id);
    let (v1, v2) = (own.issuer(TokenVersion::V1), own.issuer(TokenVersion::V2));
    let none = Lookup::Unavailable;
    match find(TokenVersion::V1, &v1, "key") {
        Lookup::Found(key) => assert_eq!(key.modulus, vec![0xAB; 512]),
        other => panic!("{other:?}"),
    }
    assert_eq!(find(TokenVersion::V1, &v1, "other"), Lookup::Unknown);
    assert_eq!(find(TokenVersion::V1, &v2, "key"), none);
    assert_eq!(find(TokenVersion::V2, &v2, "key"), none);
    assert_eq!(find(TokenVersion::V2, &v1, "key"), none);
}

/// A reload that changes which issuer the server trusts must not reuse what was fetched before.
#[test]
fn keys_of_other_settings_are_not_used() {
    let own = scope(1, None);
    let mut table = table(&own, Source::Network);
    let v1 = own.issuer(TokenVersion::V1);
    let mut us_gov = own.clone();
    us_gov.authority.cloud = Cloud::UsGov;
    let others = [
        scope(2, None),
        scope(1, Some("https://localhost:8443")),
        us_gov,
    ];
    for other in &others {
        let found = table.lookup(&policy(other, 0), TokenVersion::V1, &v1, "key");
        assert_eq!(found, Lookup::Unavailable, "{other:?}");
    }
    table.publish(
        &others[0],
        &[sourced(&others[0], TokenVersion::V2, Source::Network)],
    );
    let found = table.lookup(&policy(&own, 0), TokenVersion::V1, &v1, "key");
    assert_eq!(found, Lookup::Unavailable);
    assert!(table.snapshot(None, TokenVersion::V1).is_none());
}

#[test]
fn fetched_keys_age_and_those_of_a_file_do_not() {
    let own = scope(1, None);
    let v1 = own.issuer(TokenVersion::V1);
    let serves = |source, now, file_is_set| {
        let policy = KeyPolicy {
            file_is_set,
            ..policy(&own, now)
        };
        let found = table(&own, source).lookup(&policy, TokenVersion::V1, &v1, "key");
        matches!(found, Lookup::Found(_))
    };
    let week = 7 * 24 * HOUR;
    for source in [Source::Network, Source::Disk] {
        assert!(serves(source, week, true));
        assert!(!serves(source, week + 1, true));
        // With a clock that was set back they count as new.
        assert!(serves(source, -HOUR, true));
    }
    assert!(serves(Source::File, 100 * week, true));
    assert!(!serves(Source::File, 0, false));
}

#[test]
fn many_sign_ins_make_one_request_and_eight_wait() {
    let own = scope(1, None);
    let mut table = table(&own, Source::Network);
    let seen = table.generation();
    for number in 0..8 {
        assert_eq!(
            table.request_refresh(seen, Some(process(number)), "key", 0, COOLDOWN),
            Ok(wait(1))
        );
    }
    assert_eq!(
        table.request_refresh(seen, Some(process(8)), "key", 0, COOLDOWN),
        Err(Reason::KeyRefreshCoolingDown)
    );
    assert_eq!(table.open_request(), Some(1));
    // The places of killed processes become free by themselves.
    let later = micros_in(REFRESH_TIMEOUT) + 1;
    assert_eq!(
        table.request_refresh(seen, Some(process(9)), "key", later, COOLDOWN),
        Ok(wait(1))
    );
    table.finish(1, later, None);
    assert!(table.is_done(seen, Awaited::Requests(1)));
    assert_eq!(table.open_request(), None);
}

#[test]
fn an_answered_request_starts_the_cool_down() {
    let own = scope(1, None);
    let mut table = table(&own, Source::Network);
    let seen = table.generation();
    assert_eq!(
        table.request_refresh(seen, Some(process(1)), "key", 0, COOLDOWN),
        Ok(wait(1))
    );
    table.finish(1, 1, Some("down"));
    assert_eq!(table.last_attempt(), (Some(1), Some("down".to_owned())));
    let end = micros_in(COOLDOWN);
    assert_eq!(
        table.request_refresh(seen, Some(process(1)), "key", end - 1, COOLDOWN),
        Err(Reason::KeyRefreshCoolingDown)
    );
    // A fetch by schedule neither ends the cool-down nor starts another.
    table.finish(1, end - 1, None);
    assert_eq!(
        table.request_refresh(seen, Some(process(1)), "key", end - 1, COOLDOWN),
        Err(Reason::KeyRefreshCoolingDown)
    );
    assert_eq!(
        table.request_refresh(seen, Some(process(1)), "key", end, COOLDOWN),
        Ok(wait(2))
    );
    table.finish(2, end, None);
    // The clock was set back.
    assert_eq!(
        table.request_refresh(seen, Some(process(1)), "key", end - 1, COOLDOWN),
        Ok(wait(3))
    );
}

#[test]
fn a_new_key_id_waits_for_a_shorter_time() {
    let own = scope(1, None);
    let mut table = table(&own, Source::Network);
    let seen = table.generation();
    let mut asked = 0;
    let mut ask = |key_id: &str, now: i64| {
        let request = table.request_refresh(seen, Some(process(1)), key_id, now, COOLDOWN);
        if request.is_ok() {
            asked += 1;
            table.finish(asked, now, None);
        }
        request.is_ok()
    };
    let pause = micros_in(NEW_KEY_COOLDOWN);
    assert!(ask("invented", 0));
    assert!(!ask("published", pause - 1));
    assert!(ask("published", pause));
    // Neither is new any more; the cool-down runs from the last request.
    assert!(!ask("invented", pause + micros_in(COOLDOWN) - 1));
    assert!(ask("invented", pause + micros_in(COOLDOWN)));
    // Only so many are remembered.
    let mut now = pause + micros_in(COOLDOWN);
    for number in 0..REMEMBERED {
        now += pause;
        assert!(ask(&number.to_string(), now));
    }
    assert!(!ask("7", now + pause));
    assert!(ask("published", now + pause));
}

/// The fetch in progress may bring keys that are older than this key.
#[test]
fn a_key_id_that_joins_a_request_stays_new() {
    let own = scope(1, None);
    let mut table = table(&own, Source::Network);
    let seen = table.generation();
    let request = |table: &mut KeyTable, key_id: &str, now: i64| {
        table.request_refresh(seen, Some(process(1)), key_id, now, COOLDOWN)
    };
    assert_eq!(request(&mut table, "invented", 0), Ok(wait(1)));
    let begun = table.begin();
    assert_eq!(request(&mut table, "published", 1), Ok(wait(1)));
    table.finish(begun, 2, None);
    let pause = micros_in(NEW_KEY_COOLDOWN);
    assert_eq!(request(&mut table, "published", pause), Ok(wait(2)));
}

#[test]
fn a_request_after_the_keys_have_changed_does_not_wait() {
    let own = scope(1, None);
    let mut table = table(&own, Source::Network);
    let seen = table.generation();
    table
        .request_refresh(seen, Some(process(1)), "key", 0, COOLDOWN)
        .unwrap();
    table.publish(&own, &[sourced(&own, TokenVersion::V1, Source::Network)]);
    assert!(table.is_done(seen, Awaited::Requests(1)));
    assert_eq!(
        table.request_refresh(seen, Some(process(2)), "key", 1, COOLDOWN),
        Ok(RefreshRequest::KeysChanged)
    );
}

#[test]
fn a_fetch_that_began_before_the_request_does_not_answer_it() {
    let own = scope(1, None);
    let mut table = table(&own, Source::Network);
    let seen = table.generation();
    let asked = table.begin();
    table
        .request_refresh(seen, Some(process(1)), "key", 0, COOLDOWN)
        .unwrap();
    table.finish(asked, 1, None);
    assert!(!table.is_done(seen, Awaited::Requests(1)));
    assert_eq!(table.open_request(), Some(1));
}

/// Sign-ins right after the server's start wait for the first keys, and leave the cool-down alone.
#[test]
fn while_the_first_keys_are_fetched_no_request_is_made() {
    let own = scope(1, None);
    let mut table = KeyTable::EMPTY;
    let first = Awaited::Attempts(1);
    assert_eq!(
        table.request_refresh(0, Some(process(2)), "key", 0, COOLDOWN),
        Ok(RefreshRequest::Wait(first))
    );
    let asked = table.begin();
    assert_eq!(
        table.request_refresh(0, Some(process(3)), "key", 0, COOLDOWN),
        Ok(RefreshRequest::Wait(first))
    );
    assert_eq!(table.open_request(), None);
    assert!(!table.is_done(0, first));
    table.finish(asked, 1, Some("down"));
    assert!(table.is_done(0, first));
    // The worker rests before it tries again: now a sign-in makes it try at once.
    assert_eq!(
        table.request_refresh(0, Some(process(2)), "key", 1, COOLDOWN),
        Ok(wait(1))
    );
    let asked = table.begin();
    table.publish(&own, &[sourced(&own, TokenVersion::V1, Source::Network)]);
    table.finish(asked, 2, None);
    assert_eq!(table.open_request(), None);
}

#[test]
fn the_clock_is_compared_with_that_of_the_own_authority() {
    let own = scope(1, None);
    let mut table = table(&own, Source::Network);
    let second = 1_000_000;
    table.set_clock(ClockCheck::new(600 * second + second - 1, 0));
    assert_eq!(table.clock().unwrap().ahead, 600);
    table.set_clock(ClockCheck::new(5 * second, 605));
    assert_eq!(table.clock().unwrap().ahead, -600);
    table.keep_only(&own);
    assert!(table.clock().is_some());
    table.publish(&own, &[sourced(&own, TokenVersion::V1, Source::Network)]);
    assert!(table.clock().is_some());
    let other = scope(2, None);
    table.publish(
        &other,
        &[sourced(&other, TokenVersion::V1, Source::Network)],
    );
    assert_eq!(table.clock(), None);
}
