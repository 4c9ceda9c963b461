//! The cache of group memberships that the directory has confirmed or denied.
//!
//! Everything here is a plain value: the lock is taken in [`crate::shared::shmem`], time and settings are
//! arguments. Times are microseconds since the Unix epoch.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use uuid::Uuid;

use super::scope::Scope;

const SETS: usize = 2048;
const WAYS: usize = 8;

/// The longest time that "not a member" is cached: the principal may have been added because it could not sign in.
pub const NEGATIVE_TTL: Duration = Duration::from_secs(30);

/// 16,384 memberships of one directory, in a fixed size. If a set is full, its oldest entry is evicted; members are
/// evicted last, because they can sign in while the directory is unavailable.
///
/// All its fields are numbers, and all zeros mean an empty cache: it is too large to be moved into shared memory.
pub struct GroupCache {
    scope: Scope,
    /// Grows whenever a group is invalidated.
    generation: u64,
    sets: [[Entry; WAYS]; SETS],
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    member: Uuid,
    group: Uuid,
    /// When the directory was asked; 0 when there is no entry.
    asked_at: i64,
    is_member: bool,
}

impl Entry {
    const NONE: Entry = Entry {
        member: Uuid::nil(),
        group: Uuid::nil(),
        asked_at: 0,
        is_member: false,
    };
}

/// A response of the directory, to be cached.
#[derive(Clone, Copy, Debug)]
pub struct CachedMembership {
    pub member: Uuid,
    pub group: Uuid,
    pub is_member: bool,
    /// When the query was sent: later changes are not in the response.
    pub asked_at: i64,
    /// [`GroupCache::generation`] at that time.
    pub generation: u64,
}

impl GroupCache {
    /// Whether the principal was in the group when the directory was last asked, at most `ttl` before
    /// `now`; for non-members, at most [`NEGATIVE_TTL`]. `None` if that is not known.
    pub fn lookup(
        &self,
        scope: &Scope,
        member: Uuid,
        group: Uuid,
        ttl: Duration,
        now: i64,
    ) -> Option<bool> {
        if self.scope != *scope {
            return None;
        }
        let set = self.sets.get(set_of(member, group))?;
        let entry = set.iter().find(|entry| entry.is_about(member, group))?;
        let longest = if entry.is_member {
            ttl
        } else {
            ttl.min(NEGATIVE_TTL)
        };
        // An entry from the future does not count: the clock was set back, so its age is unknown.
        let age = u64::try_from(now.checked_sub(entry.asked_at)?).ok()?;
        (Duration::from_micros(age) < longest).then_some(entry.is_member)
    }

    /// Caches a response of the directory with that scope, and drops entries of another scope.
    ///
    /// A response to a query from before a group was invalidated is not cached: it may be about that group, and older
    /// than the change for which it was invalidated.
    pub fn insert(&mut self, scope: &Scope, answer: &CachedMembership) {
        if answer.generation != self.generation {
            return;
        }
        if self.scope != *scope {
            self.scope = *scope;
            self.sets.as_flattened_mut().fill(Entry::NONE);
        }
        let Some(set) = self.sets.get_mut(set_of(answer.member, answer.group)) else {
            return;
        };
        let entry = Entry {
            member: answer.member,
            group: answer.group,
            asked_at: answer.asked_at,
            is_member: answer.is_member,
        };
        let same = set
            .iter()
            .position(|entry| entry.is_about(answer.member, answer.group));
        let oldest = |is_member| {
            let like = set.iter().enumerate();
            like.filter(|(_, entry)| entry.is_member == is_member)
                .min_by_key(|(_, entry)| entry.asked_at)
                .map(|(place, _)| place)
        };
        // An empty entry counts as an old non-member.
        let place = same.or_else(|| oldest(false)).or_else(|| oldest(true));
        if let Some(place) = place.and_then(|place| set.get_mut(place)) {
            *place = entry;
        }
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.generation += 1;
        self.sets.as_flattened_mut().fill(Entry::NONE);
    }

    /// Removes all entries of the group.
    pub fn invalidate(&mut self, group: Uuid) {
        self.generation += 1;
        for entry in self.sets.as_flattened_mut() {
            if entry.group == group {
                *entry = Entry::NONE;
            }
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl Entry {
    fn is_about(&self, member: Uuid, group: Uuid) -> bool {
        self.asked_at != 0 && self.member == member && self.group == group
    }
}

/// The same in every process: a `DefaultHasher` has no random keys.
fn set_of(member: Uuid, group: Uuid) -> usize {
    let mut hasher = DefaultHasher::new();
    (member, group).hash(&mut hasher);
    (hasher.finish() % SETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use entra_api::{CredentialSource, DirectorySettings, HttpSettings};
    use entra_token::Authority;

    use super::*;

    const TTL: Duration = Duration::from_secs(600);
    const SECOND: i64 = 1_000_000;
    const NOW: i64 = 1_700_000_000 * SECOND;

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

    fn empty() -> Box<GroupCache> {
        // On the heap from the beginning.
        let sets = vec![[Entry::NONE; WAYS]; SETS].into_boxed_slice();
        Box::new(GroupCache {
            scope: Scope::NONE,
            generation: 0,
            sets: *<Box<[_; SETS]>>::try_from(sets).ok().unwrap(),
        })
    }

    fn answer(member: u128, group: u128, is_member: bool, asked_at: i64) -> CachedMembership {
        CachedMembership {
            member: Uuid::from_u128(member),
            group: Uuid::from_u128(group),
            is_member,
            asked_at,
            generation: 0,
        }
    }

    fn look(cache: &GroupCache, member: u128, group: u128, now: i64) -> Option<bool> {
        let (member, group) = (Uuid::from_u128(member), Uuid::from_u128(group));
        cache.lookup(&scope(1), member, group, TTL, now)
    }

    /// Members and groups that share one set.
    fn same_set(count: usize) -> Vec<u128> {
        let group = Uuid::from_u128(1);
        let set = set_of(Uuid::from_u128(0), group);
        (0..)
            .filter(|member| set_of(Uuid::from_u128(*member), group) == set)
            .take(count)
            .collect()
    }

    #[test]
    fn zeros_are_an_empty_cache() {
        let none = Entry::NONE;
        assert!(none.member.is_nil() && none.group.is_nil());
        assert!(none.asked_at == 0 && !none.is_member);
        assert!(Scope::NONE.is_zeros());
        assert_eq!(look(&empty(), 0, 0, 0), None);
    }

    #[test]
    fn an_answer_is_about_one_principal_and_one_group() {
        let mut cache = empty();
        cache.insert(&scope(1), &answer(1, 2, true, NOW));
        cache.insert(&scope(1), &answer(3, 2, false, NOW));
        assert_eq!(look(&cache, 1, 2, NOW), Some(true));
        assert_eq!(look(&cache, 3, 2, NOW), Some(false));
        for (member, group) in [(2, 1), (1, 1), (2, 2), (3, 1), (0, 0)] {
            assert_eq!(look(&cache, member, group, NOW), None, "{member} {group}");
        }
        // In one set, which all of them fill, too.
        let members = same_set(WAYS);
        let mut cache = empty();
        for (number, member) in members.iter().enumerate() {
            cache.insert(&scope(1), &answer(*member, 1, number % 2 == 0, NOW));
        }
        for (number, member) in members.iter().enumerate() {
            assert_eq!(look(&cache, *member, 1, NOW), Some(number % 2 == 0));
        }
        // Another group whose place is the same.
        let (member, set) = (
            members[0],
            set_of(Uuid::from_u128(members[0]), Uuid::from_u128(1)),
        );
        let is_there =
            |group: &u128| set_of(Uuid::from_u128(member), Uuid::from_u128(*group)) == set;
        let group = (2..).find(is_there).unwrap();
        assert_eq!(look(&cache, member, 1, NOW), Some(true));
        assert_eq!(look(&cache, member, group, NOW), None);
    }

    #[test]
    fn members_are_known_for_the_ttl_and_others_for_half_a_minute() {
        let mut cache = empty();
        cache.insert(&scope(1), &answer(1, 2, true, NOW));
        cache.insert(&scope(1), &answer(3, 2, false, NOW));
        assert_eq!(look(&cache, 1, 2, NOW + 600 * SECOND - 1), Some(true));
        assert_eq!(look(&cache, 1, 2, NOW + 600 * SECOND), None);
        assert_eq!(look(&cache, 3, 2, NOW + 30 * SECOND - 1), Some(false));
        assert_eq!(look(&cache, 3, 2, NOW + 30 * SECOND), None);
        // The reader's settings count, those of a moment before don't.
        let short = |member, ttl, now| {
            let (member, group) = (Uuid::from_u128(member), Uuid::from_u128(2));
            cache.lookup(&scope(1), member, group, ttl, now)
        };
        let second = Duration::from_secs(1);
        assert_eq!(short(1, second, NOW + SECOND), None);
        assert_eq!(short(3, second, NOW + SECOND), None);
        assert_eq!(short(1, Duration::ZERO, NOW), None);
        assert_eq!(short(3, Duration::ZERO, NOW), None);
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nothing_alive() {
        let mut cache = empty();
        cache.insert(&scope(1), &answer(1, 2, true, NOW));
        assert_eq!(look(&cache, 1, 2, NOW - 1), None);
        assert_eq!(look(&cache, 1, 2, i64::MIN), None);
    }

    #[test]
    fn the_last_answer_counts() {
        let mut cache = empty();
        cache.insert(&scope(1), &answer(1, 2, true, NOW));
        cache.insert(&scope(1), &answer(1, 2, false, NOW + 1));
        assert_eq!(look(&cache, 1, 2, NOW + 1), Some(false));
        cache.insert(&scope(1), &answer(1, 2, true, NOW + 2));
        assert_eq!(look(&cache, 1, 2, NOW + 2), Some(true));
    }

    #[test]
    fn another_directory_knows_nothing_and_drops_all() {
        let mut cache = empty();
        cache.insert(&scope(1), &answer(1, 2, true, NOW));
        let (member, group) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(cache.lookup(&scope(2), member, group, TTL, NOW), None);
        cache.insert(&scope(2), &answer(3, 2, true, NOW));
        assert_eq!(look(&cache, 1, 2, NOW), None);
        cache.insert(&scope(1), &answer(4, 2, true, NOW));
        assert_eq!(look(&cache, 1, 2, NOW), None);
        assert_eq!(look(&cache, 3, 2, NOW), None);
        assert_eq!(look(&cache, 4, 2, NOW), Some(true));
    }

    #[test]
    fn an_invalidated_group_is_queried_again() {
        let mut cache = empty();
        cache.insert(&scope(1), &answer(1, 2, true, NOW));
        cache.insert(&scope(1), &answer(1, 3, true, NOW));
        let before = cache.generation();
        cache.invalidate(Uuid::from_u128(2));
        assert_eq!(look(&cache, 1, 2, NOW), None);
        assert_eq!(look(&cache, 1, 3, NOW), Some(true));
        // Queried before the invalidation, answered after it.
        let mut late = answer(1, 2, true, NOW);
        late.generation = before;
        cache.insert(&scope(1), &late);
        assert_eq!(look(&cache, 1, 2, NOW), None);
        late.generation = cache.generation();
        cache.insert(&scope(1), &late);
        assert_eq!(look(&cache, 1, 2, NOW), Some(true));
    }

    #[test]
    fn a_cleared_cache_knows_nothing_and_takes_nothing_from_before() {
        let mut cache = empty();
        cache.insert(&scope(1), &answer(1, 2, true, NOW));
        cache.clear();
        assert_eq!(look(&cache, 1, 2, NOW), None);
        cache.insert(&scope(1), &answer(1, 2, true, NOW));
        assert_eq!(look(&cache, 1, 2, NOW), None);
    }

    #[test]
    fn the_oldest_is_evicted_and_members_last() {
        let members = same_set(WAYS + 3);
        let mut cache = empty();
        for (number, member) in members[..WAYS].iter().enumerate() {
            let is_member = number != 5;
            cache.insert(
                &scope(1),
                &answer(*member, 1, is_member, NOW + number as i64),
            );
        }
        let later = NOW + 100;
        cache.insert(&scope(1), &answer(members[WAYS], 1, true, later));
        assert_eq!(look(&cache, members[5], 1, later), None);
        cache.insert(&scope(1), &answer(members[WAYS + 1], 1, true, later));
        assert_eq!(look(&cache, members[0], 1, later), None);
        // One that is no member makes room for the next, not a member.
        cache.insert(&scope(1), &answer(members[WAYS + 2], 1, false, later));
        cache.insert(&scope(1), &answer(members[0], 1, true, later));
        assert_eq!(look(&cache, members[WAYS + 2], 1, later), None);
        for member in [members[2], members[7], members[WAYS], members[0]] {
            assert_eq!(look(&cache, member, 1, later), Some(true));
        }
    }
}
