use entra_api::{CredentialSource, DirectorySettings, HttpSettings};
use entra_token::{Authority, PrincipalKind};
use uuid::Uuid;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);
const SECOND: i64 = 1_000_000;
const NOW: i64 = 1_700_000_000 * SECOND;
/// When a slot is free again.
const END: i64 = NOW + 5 * SECOND + SECOND / 2;
const ANY: Ticket = Ticket::LAST;

fn scope(tenant: u128) -> Scope {
    let settings = DirectorySettings {
        tenant: Uuid::from_u128(tenant),
        authority: Authority::default(),
        graph: "https://graph.microsoft.com".to_owned(),
        client_id: None,
        credential: CredentialSource::ManagedIdentity,
        http: HttpSettings::default(),
    };
    Scope::from_settings(&settings).unwrap()
}

fn process(number: i32) -> Process {
    Process::from_number(number).unwrap()
}

fn membership(member: u128) -> Query {
    Query::Membership {
        kind: PrincipalKind::User,
        member: Uuid::from_u128(member),
        group: Uuid::from_u128(9),
    }
}

fn ask(table: &mut QueryTable, asker: i32, query: Query, now: i64) -> Ticket {
    table
        .ask(process(asker), scope(1), query, now, TIMEOUT)
        .unwrap()
}

fn collected(table: &mut QueryTable, ticket: Ticket) -> Option<Answer> {
    table.collect(ticket).ok().flatten()
}

fn waits(table: &mut QueryTable, ticket: Ticket) -> bool {
    matches!(table.collect(ticket), Ok(None))
}

fn is_over(table: &mut QueryTable, ticket: Ticket) -> bool {
    table.collect(ticket).is_err()
}

#[test]
fn an_answer_goes_to_all_askers_of_the_query() {
    let mut table = QueryTable::EMPTY;
    let first = ask(&mut table, 1, membership(1), NOW);
    let other = ask(&mut table, 2, membership(2), NOW);
    let same = ask(&mut table, 3, membership(1), NOW);
    assert_eq!(table.pending(NOW).len(), 3);
    let woken = table.answer(&scope(1), &membership(1), ANY, Answer::Member(true));
    assert_eq!(woken, [process(1), process(3)]);
    assert!(waits(&mut table, other));
    assert!(collected(&mut table, first) == Some(Answer::Member(true)));
    assert!(collected(&mut table, same) == Some(Answer::Member(true)));
    // The kind of the principal, too, is part of the query.
    let service = Query::Membership {
        kind: PrincipalKind::Service,
        member: Uuid::from_u128(2),
        group: Uuid::from_u128(9),
    };
    assert_eq!(
        table.answer(&scope(1), &service, ANY, Answer::Member(true)),
        []
    );
    assert!(waits(&mut table, other));
}

#[test]
fn the_answer_of_another_directory_is_not_delivered() {
    let mut table = QueryTable::EMPTY;
    let ticket = ask(&mut table, 1, membership(1), NOW);
    assert_eq!(
        table.answer(&scope(2), &membership(1), ANY, Answer::Member(true)),
        []
    );
    assert!(waits(&mut table, ticket));
    assert!(table.pending(NOW)[0].scope == scope(1));
}

/// A slot is reused before its first asker collects: neither gets the other's answer.
#[test]
fn a_ticket_opens_no_other_answer() {
    let mut table = QueryTable::EMPTY;
    let slow = ask(&mut table, 1, membership(1), NOW);
    let mut tickets = vec![slow];
    // The table is full of such queries, and all of them have expired.
    for number in 1..SLOTS {
        tickets.push(ask(&mut table, 1, membership(1), NOW + number as i64));
    }
    let later = END + SLOTS as i64;
    let next = ask(&mut table, 2, membership(2), later);
    assert!(next > tickets[SLOTS - 1]);
    table.answer(&scope(1), &membership(2), ANY, Answer::Member(true));
    assert!(is_over(&mut table, slow));
    assert!(collected(&mut table, next) == Some(Answer::Member(true)));
    // The worker's answer to the first query does not go to the new owner of the slot.
    let again = ask(&mut table, 3, membership(3), later);
    let woken = table.answer(&scope(1), &membership(1), ANY, Answer::Member(false));
    assert!(!woken.contains(&process(3)));
    assert!(waits(&mut table, again));
}

#[test]
fn an_answer_is_given_once() {
    let mut table = QueryTable::EMPTY;
    let ticket = ask(&mut table, 1, membership(1), NOW);
    assert_eq!(
        table.answer(&scope(1), &membership(1), ANY, Answer::Member(true)),
        [process(1)]
    );
    // A later one does not replace it.
    assert_eq!(
        table.answer(&scope(1), &membership(1), ANY, Answer::Member(false)),
        []
    );
    assert_eq!(table.pending(NOW).len(), 0);
    assert!(collected(&mut table, ticket) == Some(Answer::Member(true)));
    assert!(is_over(&mut table, ticket));
    assert_eq!(table.taken(NOW), 0);
}

#[test]
fn an_asker_after_the_newest_ticket_keeps_waiting() {
    let mut table = QueryTable::EMPTY;
    let early = ask(&mut table, 1, membership(1), NOW);
    let newest = table.last_ticket();
    let late = ask(&mut table, 2, membership(1), NOW);
    let woken = table.answer(&scope(1), &membership(1), newest, Answer::Ready);
    assert_eq!(woken, [process(1)]);
    assert!(collected(&mut table, early).is_some());
    assert!(waits(&mut table, late));
}

#[test]
fn a_killed_askers_slot_is_free_when_its_time_is_over() {
    let mut table = QueryTable::EMPTY;
    for number in 0..SLOTS as i32 {
        ask(&mut table, number, membership(number as u128), NOW);
    }
    let busy =
        |table: &mut QueryTable, now| table.ask(process(999), scope(1), Query::Probe, now, TIMEOUT);
    assert_eq!(busy(&mut table, NOW), Err(LookupError::Busy));
    assert_eq!(busy(&mut table, END), Err(LookupError::Busy));
    assert_eq!(table.taken(END), SLOTS);
    // Answers that are not collected do not keep them longer.
    table.answer(&scope(1), &membership(3), ANY, Answer::Member(true));
    assert_eq!(table.taken(END + 1), 0);
    assert!(busy(&mut table, END + 1).is_ok());
}

#[test]
fn a_clock_that_jumps_keeps_no_slot() {
    let mut table = QueryTable::EMPTY;
    for number in 0..SLOTS as i32 {
        ask(&mut table, number, membership(number as u128), NOW);
    }
    let hour = 3600 * SECOND;
    assert_eq!(table.taken(NOW - hour), 0);
    assert_eq!(table.pending(NOW - hour).len(), 0);
    let now = NOW - hour;
    assert!(
        table
            .ask(process(999), scope(1), Query::Probe, now, TIMEOUT)
            .is_ok()
    );
}

#[test]
fn queries_are_in_the_order_of_asking_until_they_are_due() {
    let mut table = QueryTable::EMPTY;
    let first = ask(&mut table, 1, membership(1), NOW);
    let second = ask(&mut table, 2, membership(2), NOW);
    table.leave(first);
    // In the first slot, and yet the last.
    let third = ask(&mut table, 3, membership(3), NOW + 1);
    let tickets: Vec<_> = table
        .pending(NOW)
        .iter()
        .map(|query| query.ticket)
        .collect();
    assert_eq!(tickets, [second, third]);
    // A query is pending until an answer would be too late.
    assert_eq!(table.pending(NOW + 5 * SECOND - 1).len(), 2);
    assert_eq!(table.pending(NOW + 5 * SECOND).len(), 1);
    assert_eq!(table.pending(NOW + 5 * SECOND + 1).len(), 0);
}

#[test]
fn no_asker_waits_for_a_worker_that_has_ended() {
    let mut table = QueryTable::EMPTY;
    let waiting = ask(&mut table, 1, membership(1), NOW);
    let answered = ask(&mut table, 2, membership(2), NOW);
    table.answer(&scope(1), &membership(2), ANY, Answer::Member(true));
    assert_eq!(table.stop(), [process(1)]);
    assert_eq!(table.stop(), []);
    let found = collected(&mut table, waiting).unwrap();
    assert!(found.into_result() == Err(LookupError::WorkerNotRunning));
    assert!(collected(&mut table, answered) == Some(Answer::Member(true)));
    assert_eq!(table.pending(NOW).len(), 0);
}

#[test]
fn no_query_lasts_longer_than_the_maximum() {
    let mut table = QueryTable::EMPTY;
    let hour = Duration::from_secs(3600);
    table
        .ask(process(1), scope(1), membership(1), NOW, hour)
        .unwrap();
    assert_eq!(
        table.pending(NOW)[0].due_at,
        NOW + micros_in(DIRECTORY_TIMEOUT_MAX)
    );
    assert_eq!(
        table.taken(NOW + micros_in(DIRECTORY_TIMEOUT_MAX) + micros_in(GRACE_PERIOD) + 1),
        0
    );
}

#[test]
fn an_asker_that_does_not_wait_finds_the_answer_later() {
    let mut table = QueryTable::EMPTY;
    let again = |table: &mut QueryTable, asker, query, now| {
        table.ask_again(process(asker), scope(1), query, now, TIMEOUT)
    };
    for _ in 0..3 {
        assert!(matches!(again(&mut table, 1, membership(1), NOW), Ok(None)));
    }
    assert_eq!(table.taken(NOW), 1);
    table.answer(&scope(1), &membership(1), ANY, Answer::Member(true));
    // Others have asked nothing yet.
    assert!(matches!(again(&mut table, 2, membership(1), NOW), Ok(None)));
    assert!(matches!(again(&mut table, 1, membership(2), NOW), Ok(None)));
    let answer = again(&mut table, 1, membership(1), NOW);
    assert!(matches!(answer, Ok(Some(Answer::Member(true)))));
    assert!(matches!(again(&mut table, 1, membership(1), NOW), Ok(None)));
    assert_eq!(table.taken(END + 1), 0);
}

#[test]
fn an_asker_that_does_not_wait_takes_few_slots() {
    let mut table = QueryTable::EMPTY;
    let again = |table: &mut QueryTable, asker, member, now| {
        table.ask_again(process(asker), scope(1), membership(member), now, TIMEOUT)
    };
    for member in 0..MAX_UNAWAITED as u128 {
        assert!(matches!(again(&mut table, 1, member, NOW), Ok(None)));
    }
    assert!(matches!(
        again(&mut table, 1, 1000, NOW),
        Err(LookupError::Busy)
    ));
    assert!(matches!(again(&mut table, 2, 1000, NOW), Ok(None)));
    assert!(matches!(again(&mut table, 1, 1000, END + 1), Ok(None)));
}
