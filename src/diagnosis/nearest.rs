//! Which mapped role may be meant by a name that none has.

/// Why a role's name is suggested instead of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// It differs only in upper and lower case.
    Case,
    /// It is a guest's, and the other name the one in the home tenant, or the reverse.
    Guest,
    /// One differs from the other in few characters.
    Spelling,
}

/// Names have at most so many bytes.
const MAX_NAME: usize = 63;

/// More characters than that are another name.
const MAX_DISTANCE: usize = 3;

/// The part of a longer name that PostgreSQL keeps.
pub fn cut(name: &str) -> &str {
    name.get(..name.floor_char_boundary(MAX_NAME))
        .unwrap_or(name)
}

/// The name that is most like this one, if one is.
pub fn nearest<'a>(
    name: &str,
    mapped: impl Iterator<Item = &'a str>,
) -> Option<(&'a str, Likeness)> {
    let wanted = name.to_lowercase();
    let letters: Vec<char> = wanted.chars().collect();
    let ranked = mapped.filter_map(|mapped| {
        let other = mapped.to_lowercase();
        let (rank, likeness) = if other == wanted {
            (0, Likeness::Case)
        } else if is_guest_of(&other, &wanted) || is_guest_of(&wanted, &other) {
            (0, Likeness::Guest)
        } else {
            (distance(&letters, &other)?, Likeness::Spelling)
        };
        Some((likeness, rank, mapped))
    });
    ranked.min().map(|(likeness, _, name)| (name, likeness))
}

/// Whether Entra calls the account of that name in another tenant `guest` here: `bob_fabrikam.com#EXT#@…` for
/// `bob@fabrikam.com`. Both are in lower case.
fn is_guest_of(guest: &str, account: &str) -> bool {
    let name = guest.split_once("#ext#@").map(|(name, _)| name);
    name == Some(account.replace('@', "_").as_str()) && account.contains('@')
}

/// How many characters must be inserted, removed or replaced; `None` if they are too many.
fn distance(one: &[char], other: &str) -> Option<usize> {
    let other: Vec<char> = other.chars().collect();
    let most = MAX_DISTANCE.min(one.len() / 4);
    if one.len().abs_diff(other.len()) > most {
        return None;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.iter().enumerate() {
        let mut next = vec![index + 1];
        let mut left = index + 1;
        for (candidate, above) in other.iter().zip(row.windows(2)) {
            let [diagonal, above] = above else { continue };
            left = (left + 1)
                .min(above + 1)
                .min(diagonal + usize::from(candidate != letter));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: &str = "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com";

    #[test]
    fn the_likeliest_name_is_suggested() {
        let names = [
            "alice@contoso.com",
            "carol@contoso.com",
            GUEST,
            "reports-worker",
            "ünal@contoso.com",
        ];
        let suggested = |name: &str| nearest(name, names.into_iter());
        for (name, expected) in [
            ("Carol@Contoso.com", ("carol@contoso.com", Likeness::Case)),
            ("ÜNAL@contoso.com", ("ünal@contoso.com", Likeness::Case)),
            ("bob@fabrikam.com", (GUEST, Likeness::Guest)),
            ("Bob@Fabrikam.com", (GUEST, Likeness::Guest)),
            (
                "alise@contoso.com",
                ("alice@contoso.com", Likeness::Spelling),
            ),
            (
                "alice@contos.com",
                ("alice@contoso.com", Likeness::Spelling),
            ),
            (
                "carol@contoso.comm",
                ("carol@contoso.com", Likeness::Spelling),
            ),
            ("report-worker", ("reports-worker", Likeness::Spelling)),
        ] {
            assert_eq!(suggested(name), Some(expected), "{name}");
        }
        for name in [
            "",
            "x",
            "dave@contoso.com",
            "bob",
            "bob_fabrikam.com",
            "mallory@fabrikam.com",
        ] {
            assert_eq!(suggested(name), None, "{name}");
        }
        // The other way round.
        let home = nearest(GUEST, ["bob@fabrikam.com"].into_iter());
        assert_eq!(home, Some(("bob@fabrikam.com", Likeness::Guest)));
        // The same case is better than a similar spelling.
        let both = ["alice@contoso.con", "ALICE@contoso.com"];
        let best = nearest("alice@contoso.com", both.into_iter());
        assert_eq!(best, Some(("ALICE@contoso.com", Likeness::Case)));
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(80)).len(), 63);
        assert_eq!(cut(&"ü".repeat(80)).len(), 62);
    }
}
