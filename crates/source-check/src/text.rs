//! Text that crosses the SQL boundary without a conversion: `String` and `str` in the signature of an SQL function, or as
//! the type of a column that is read.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The file with the type that converts.
pub const CONVERSION: &str = "src/pg/text.rs";

/// What reads a column, with the column's type in angle brackets.
const READERS: &[&str] = &[
    "get",
    "get_by_name",
    "get_one",
    "get_two",
    "get_three",
    "one",
    "two",
    "first",
];

/// The lines with such text.
pub fn unconverted(tokens: &TokenStream) -> Vec<usize> {
    let mut words = Vec::new();
    flatten(tokens, &mut words);
    let mut lines = Vec::new();
    for (index, (word, _)) in words.iter().enumerate() {
        let following = words.get(index..).unwrap_or_default();
        let types = if word == "pg_extern" {
            signature(following)
        } else if READERS.contains(&word.as_str()) {
            type_arguments(following)
        } else {
            continue;
        };
        let texts = types
            .iter()
            .filter(|(word, _)| word == "String" || word == "str");
        lines.extend(texts.map(|(_, line)| *line));
    }
    lines
}

type Word = (String, usize);

/// Names, signs and braces; what is in parentheses and brackets as if it were outside of them.
fn flatten(tokens: &TokenStream, words: &mut Vec<Word>) {
    for token in tokens.clone() {
        let line = token.span().start().line;
        match token {
            TokenTree::Group(group) => {
                let is_block = group.delimiter() == Delimiter::Brace;
                words.extend(is_block.then(|| ("{".to_owned(), line)));
                flatten(&group.stream(), words);
            }
            other => words.push((other.to_string(), line)),
        }
    }
}

/// From the attribute to the body of the function.
fn signature(words: &[Word]) -> &[Word] {
    let body = words.iter().position(|(word, _)| word == "{");
    words.get(..body.unwrap_or(words.len())).unwrap_or_default()
}

/// What is in the angle brackets after the name and `::`.
fn type_arguments(words: &[Word]) -> &[Word] {
    let begins = ["", ":", ":", "<"];
    let is_begun = words
        .iter()
        .zip(begins)
        .skip(1)
        .all(|((word, _), sign)| word == sign);
    if !is_begun {
        return &[];
    }
    let mut depth = 0_usize;
    for (index, (word, _)) in words.iter().enumerate() {
        match word.as_str() {
            "<" => depth += 1,
            ">" if depth <= 1 => return words.get(..index).unwrap_or_default(),
            ">" => depth -= 1,
            _ => {}
        }
    }
    &[]
}
