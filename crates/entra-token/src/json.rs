//! JSON as signed data must be read: one object, no member twice.
//!
//! RFC 7515 section 5.2 and RFC 7519 section 4 leave it to the parser whether a repeated member is
//! an error or the last one wins. Two parsers that differ on it can be made to see two different
//! tokens behind one signature, so here it is an error, at every depth.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// Why a text could not be read. Says nothing of its content, which is a stranger's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Reads a JSON object in which no object, however deep, has two members of the same name.
///
/// Refused are also other JSON values, text that is not UTF-8, lone surrogates, numbers that no
/// `f64` holds, nesting beyond serde_json's limit of 128, and anything behind the object. Only the
/// members that `T` names are kept; all others are walked over without being stored.
pub(crate) fn object<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unreadable)?;
    // serde's derived structs also read arrays, member by position.
    if !text
        .trim_start_matches([' ', '\t', '\n', '\r'])
        .starts_with('{')
    {
        return Err(Unreadable);
    }
    let mut walk = serde_json::Deserializer::from_str(text);
    Distinct
        .deserialize(&mut walk)
        .and_then(|()| walk.end())
        .map_err(|_| Unreadable)?;
    serde_json::from_str(text).map_err(|_| Unreadable)
}

/// Reads a member that is present; `null` is a value of the wrong type, not an absent member.
/// With `#[serde(default)]`, an absent member is `None`.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: de::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Walks over any value and fails at the first member whose name the same object has already.
struct Distinct;

impl<'de> DeserializeSeed<'de> for Distinct {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Distinct)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(Name(name)) = map.next_key()? {
            if !names.insert(name) {
                return Err(de::Error::custom("repeated member"));
            }
            map.next_value_seed(Distinct)?;
        }
        Ok(())
    }
}

/// A member's name, unescaped, and borrowed where it has no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Sample {
        #[serde(default, deserialize_with = "present")]
        a: Option<i64>,
    }

    fn read(text: &str) -> Result<Option<i64>, Unreadable> {
        object::<Sample>(text.as_bytes()).map(|sample| sample.a)
    }

    #[test]
    fn objects_are_read() {
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(" \r\n\t{\"a\":1} \n"), Ok(Some(1)));
        assert_eq!(
            read(r#"{"a":1,"b":{"a":{"a":[{"a":1},{"a":2}]}},"c":[null,true,-1,1.5,"x"]}"#),
            Ok(Some(1))
        );
        assert_eq!(read(r#"{"\u0061":7}"#), Ok(Some(7)));
    }

    /// Repeated members, at the top and nested, escaped or not.
    #[test]
    fn no_member_stands_twice() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":{"c":1,"c":1}}"#,
            r#"{"b":[[{"c":1,"d":2,"c":1}]]}"#,
            r#"{"":1,"":2}"#,
        ] {
            assert_eq!(read(text), Err(Unreadable), "{text}");
        }
    }

    /// Other values, nesting, huge numbers, lone surrogates, bad UTF-8.
    #[test]
    fn nothing_but_an_object_of_sound_text_is_read() {
        for text in [
            "",
            " ",
            "[1]",
            "[]",
            "\"a\"",
            "1",
            "null",
            "true",
            "{",
            "{}}",
            "{} {}",
            "{}x",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "\u{feff}{}",
            "{\"b\":\"\\ud800\"}",
            "{\"b\":\"\\udc00\\ud800\"}",
            "{\"\\ud800\":1}",
            "{\"b\":\"\u{0}\"}",
            "{\"b\":\"\n\"}",
            "{\"b\":1e400}",
            "{\"b\":01}",
            "{\"b\":NaN}",
            "{}//",
        ] {
            assert_eq!(read(text), Err(Unreadable), "{text:?}");
        }
        assert_eq!(object::<Sample>(b"{\"b\":\"\xff\"}"), Err(Unreadable));
        assert_eq!(
            object::<Sample>(b"{\"b\":\"\xed\xa0\x80\"}"),
            Err(Unreadable)
        );
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |depth: usize| format!("{{\"b\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(read(&nested(100)), Ok(None));
        assert_eq!(read(&nested(10_000)), Err(Unreadable));
        let objects = format!("{}1{}", "{\"b\":".repeat(10_000), "}".repeat(10_000));
        assert_eq!(read(&objects), Err(Unreadable));
    }

    #[test]
    fn null_is_not_absence() {
        assert_eq!(read(r#"{"a":null}"#), Err(Unreadable));
        assert_eq!(read(r#"{"a":1.0}"#), Err(Unreadable));
        assert_eq!(read(r#"{"a":"1"}"#), Err(Unreadable));
    }
}
