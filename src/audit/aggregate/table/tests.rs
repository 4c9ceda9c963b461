use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::audit::aggregate::class::Class;

const MINUTE: i64 = 28_000_000;
const SECRET: [u8; 16] = *b"a secret of ours";

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("aadauth-aggregate-{}-{count}", std::process::id());
        Scratch(std::env::temp_dir().join(name))
    }

    fn table(&self) -> Table {
        Table::open(&self.0, 3).unwrap()
    }

    fn admit(&self, key: &str, minute: i64) -> Option<Admission> {
        self.admit_with(key, minute, |_| panic!("nothing is to be evicted"))
    }

    fn admit_as(&self, class: Class, key: &str) -> Option<Admission> {
        self.admit_in(class.candidates(key.as_bytes(), &SECRET), key)
    }

    fn admit_in(&self, candidates: impl Iterator<Item = usize>, key: &str) -> Option<Admission> {
        let new_event = || b"{}".to_vec();
        let evict = |_: &Slot| panic!("nothing is to be evicted");
        let table = self.table();
        table
            .admit(candidates, key.as_bytes(), MINUTE, 2, new_event, evict)
            .unwrap()
    }

    fn admit_with(
        &self,
        key: &str,
        minute: i64,
        evict: impl FnMut(&Slot) -> io::Result<()>,
    ) -> Option<Admission> {
        let new_event = || format!("{{\"{key}\"}}").into_bytes();
        let table = self.table();
        let candidates = Class::LoginRole.candidates(key.as_bytes(), &SECRET);
        table
            .admit(candidates, key.as_bytes(), minute, 2, new_event, evict)
            .unwrap()
    }

    fn counts(&self) -> Vec<(String, u64)> {
        let entries = self.table().entries().unwrap();
        let mut counts: Vec<_> = entries
            .into_iter()
            .map(|entry| {
                (
                    String::from_utf8(entry.slot.event).unwrap(),
                    entry.slot.count,
                )
            })
            .collect();
        counts.sort();
        counts
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_first_are_individual_and_the_rest_are_counted() {
    let scratch = Scratch::new();
    let admitted: Vec<_> = (0..5).map(|_| scratch.admit("a", MINUTE)).collect();
    use Admission::{Counted, Individual};
    assert_eq!(
        admitted,
        [Individual, Individual, Counted, Counted, Counted].map(Some)
    );
    assert_eq!(scratch.admit("b", MINUTE), Some(Individual));
    assert_eq!(
        scratch.counts(),
        [("{\"a\"}".to_owned(), 3), ("{\"b\"}".to_owned(), 0)]
    );
    // The clock was set back.
    assert_eq!(scratch.admit("a", MINUTE - 1), Some(Counted));
}

#[test]
fn the_count_of_an_earlier_minute_is_evicted_before_its_slot_is_reused() {
    let scratch = Scratch::new();
    for _ in 0..4 {
        scratch.admit("a", MINUTE);
    }
    let full = scratch.admit_with("a", MINUTE + 1, |_| Err(io::Error::other("full")));
    assert_eq!(full, Some(Admission::Counted));
    assert_eq!(scratch.counts(), [("{\"a\"}".to_owned(), 3)]);
    let mut evicted = Vec::new();
    let admitted = scratch.admit_with("a", MINUTE + 1, |slot| {
        evicted.push(slot.count);
        Ok(())
    });
    assert_eq!(admitted, Some(Admission::Individual));
    assert_eq!(evicted, [3]);
    assert_eq!(scratch.counts(), [("{\"a\"}".to_owned(), 0)]);
}

#[test]
fn keys_without_a_slot_are_reported() {
    let scratch = Scratch::new();
    let mut without = 0;
    for number in 0..1000 {
        without += usize::from(scratch.admit(&number.to_string(), MINUTE).is_none());
    }
    assert_eq!(1000 - without, scratch.counts().len());
    assert!((488..600).contains(&without), "{without}");
    // A minute later their slots are free: nothing was counted in them.
    for number in 0..500 {
        let admitted = scratch.admit(&format!("later {number}"), MINUTE + 1);
        assert!(admitted.is_some() || number > 200, "{number}");
    }
}

#[test]
fn attempts_of_one_class_take_no_slots_of_another() {
    const ALL: [Class; 5] = [
        Class::LoginRole,
        Class::OtherRole,
        Class::Verified,
        Class::Address,
        Class::Principal,
    ];
    for flooded in ALL {
        let scratch = Scratch::new();
        let admitted = (0..2000)
            .filter_map(|number| scratch.admit_as(flooded, &format!("invented {number}")))
            .count();
        assert!(admitted < 520, "{flooded:?}: {admitted}");
        for other in ALL.into_iter().filter(|class| *class != flooded) {
            assert_eq!(
                scratch.admit_as(other, "a key"),
                Some(Admission::Individual),
                "{other:?} beside {flooded:?}"
            );
        }
    }
}

/// <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>: anyone can compute it.
fn fnv(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// With a hash that anyone can compute, eight names for one slot hide every attempt on a role that belongs there.
#[test]
fn keys_that_collide_without_the_secret_do_not_collide_with_it() {
    const SLOTS: u64 = 128;
    const PROBES: usize = 8;
    let victim = "127.0.0.1\npassword-failed\n1\nthe role";
    let without_secret = |key: &str| {
        let home = usize::try_from(fnv(key) % SLOTS).unwrap();
        (0..PROBES).map(move |probe| (home + probe) % SLOTS as usize)
    };
    let colliding: Vec<String> = (0_u32..)
        .map(|number| format!("127.0.0.1\nno-password\n2\nguess {number}"))
        .filter(|key| fnv(key) % SLOTS == fnv(victim) % SLOTS)
        .take(PROBES)
        .collect();

    let scratch = Scratch::new();
    for key in &colliding {
        assert!(scratch.admit_in(without_secret(key), key).is_some());
    }
    assert_eq!(scratch.admit_in(without_secret(victim), victim), None);

    let scratch = Scratch::new();
    let home = |key: &str| {
        let mut candidates = Class::OtherRole.candidates(key.as_bytes(), &SECRET);
        candidates.next().unwrap()
    };
    let mut homes: Vec<usize> = colliding.iter().map(|key| home(key)).collect();
    for key in &colliding {
        assert!(scratch.admit_as(Class::OtherRole, key).is_some());
    }
    assert_eq!(
        scratch.admit_as(Class::OtherRole, victim),
        Some(Admission::Individual)
    );
    homes.sort_unstable();
    homes.dedup();
    assert!(homes.len() >= PROBES - 2, "{homes:?}");
}

#[test]
fn reserved_slots_continue_counting() {
    let scratch = Scratch::new();
    let count = |number, minute, evicts: bool| {
        let new_event = || format!("{{\"{minute}\"}}").into_bytes();
        let evict = |_: &Slot| match evicts {
            true => Ok(()),
            false => Err(io::Error::other("full")),
        };
        let table = scratch.table();
        table
            .count_at(number, 10, minute, new_event, evict)
            .unwrap();
    };
    count(0, MINUTE, false);
    count(0, MINUTE + 1, false);
    count(2, MINUTE, false);
    let first = format!("{{\"{MINUTE}\"}}");
    assert_eq!(scratch.counts(), [(first.clone(), 10), (first.clone(), 20)]);
    count(0, MINUTE + 1, true);
    assert_eq!(
        scratch.counts(),
        [(first, 10), (format!("{{\"{}\"}}", MINUTE + 1), 10)]
    );
}

#[test]
fn only_what_has_not_changed_is_freed() {
    let scratch = Scratch::new();
    for _ in 0..3 {
        scratch.admit("a", MINUTE);
        scratch.admit("b", MINUTE);
        scratch.admit("c", MINUTE + 1);
    }
    let entries = scratch.table().entries().unwrap();
    scratch.admit("b", MINUTE);
    scratch.table().free(&entries, MINUTE + 1).unwrap();
    assert_eq!(
        scratch.counts(),
        [("{\"b\"}".to_owned(), 2), ("{\"c\"}".to_owned(), 1)]
    );
}

#[test]
fn waiting_for_the_lock_times_out() {
    let scratch = Scratch::new();
    let holder = scratch.table();
    let began = Instant::now();
    let error = Table::open(&scratch.0, 3).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(began.elapsed() >= LOCK_TIMEOUT);
    drop(holder);
    assert_eq!(scratch.admit("a", MINUTE), Some(Admission::Individual));
}

#[test]
fn the_table_has_its_full_length_from_the_start() {
    let scratch = Scratch::new();
    let length = || fs::metadata(&scratch.0).unwrap().len();
    drop(scratch.table());
    let full = length();
    assert_eq!(full, ((KEYED + 3) * slot::SIZE) as u64);
    for number in 0..1000 {
        scratch.admit(&number.to_string(), MINUTE);
    }
    assert_eq!(length(), full);
    // A copy that a backup took while the file was created.
    OpenOptions::new()
        .write(true)
        .open(&scratch.0)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let entries = Table::open_existing(&scratch.0).unwrap().entries().unwrap();
    assert!(entries.is_empty());
}

/// Of an earlier start: with fewer slots, and keys that another hash has placed.
#[test]
fn a_table_of_another_version_is_read_and_freed() {
    let scratch = Scratch::new();
    const SLOTS: usize = 433;
    let mut content = vec![0; (SLOTS - 1) * slot::SIZE];
    let last = Slot {
        minute: MINUTE,
        individual: 0,
        count: 7,
        key: b"a".to_vec(),
        event: b"{}".to_vec(),
    };
    content.extend(last.bytes().unwrap());
    fs::write(&scratch.0, content).unwrap();
    let table = Table::open_existing(&scratch.0).unwrap();
    let entries = table.entries().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].slot, last);
    table.free(&entries, MINUTE + 1).unwrap();
    assert!(table.entries().unwrap().is_empty());
}
