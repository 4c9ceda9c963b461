//! The connection strings of `pgbouncer.ini` (`cstr_get_pair` in PgBouncer's loader.c): not those of libpq.

pub type Pairs = Vec<(String, String)>;

/// # Errors
/// PgBouncer does not accept it.
pub fn parse(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let (key, value) = rest
            .split_once('=')
            .map(|(key, value)| (key.trim_end_matches(' '), value.trim_start_matches(' ')))
            .filter(|(key, _)| !key.is_empty() && !key.contains(' '))
            .ok_or("syntax error in the connection string")?;
        let (value, after) = match value.strip_prefix('\'') {
            Some(quoted) => unquote(quoted).ok_or("a quote is not closed")?,
            None => {
                let (value, after) = value.split_at(value.find(' ').unwrap_or(value.len()));
                (value.to_owned(), after)
            }
        };
        if value.is_empty() {
            return Err(format!("\"{key}\" has no value"));
        }
        pairs.push((key.to_owned(), value));
        // PgBouncer ends the value here, whatever this character is.
        let mut after = after.chars();
        after.next();
        rest = after.as_str().trim_start_matches(' ');
    }
    Ok(pairs)
}

/// The value of what follows a quote, and what follows the closing one; two quotes are one.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '\'' => match chars.as_str().strip_prefix('\'') {
                Some(rest) => {
                    value.push('\'');
                    chars = rest.chars();
                }
                None => return Some((value, chars.as_str())),
            },
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_as_pgbouncer_reads_them() {
        for (text, expected) in [
            ("", &[][..]),
            (
                "host=db port = 5432",
                &[("host", "db"), ("port", "5432")][..],
            ),
            (
                " user='a''b c'  dbname='a=b'",
                &[("user", "a'b c"), ("dbname", "a=b")],
            ),
            // The character after a quote is eaten.
            ("a='b'cd=e", &[("a", "b"), ("d", "e")]),
            ("a=b'c' d=e", &[("a", "b'c'"), ("d", "e")]),
            // A tab is no space.
            ("a=b\tc=d", &[("a", "b\tc=d")]),
        ] {
            let pairs = parse(text).unwrap();
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            assert_eq!(pairs, expected, "{text}");
        }
    }

    #[test]
    fn what_pgbouncer_refuses() {
        for text in ["a", "=b", "a b=c", "a=", "a=''", "a= ", "a='b", "a='b''"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
