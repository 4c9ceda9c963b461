//! Statements and parameters to paste, with names that strangers choose.

use entra_token::{Mapping, PrincipalKind};

pub fn update(role: &str, id: &str, kind: PrincipalKind, before: Option<&Mapping>) -> String {
    call(
        "pgaadauth_update_principal_with_oid",
        role,
        id,
        kind,
        before,
    )
}

/// A call of one of Azure's functions.
pub fn call(
    function: &str,
    role: &str,
    id: &str,
    kind: PrincipalKind,
    before: Option<&Mapping>,
) -> String {
    let (admin, mfa) = before.map_or((false, false), |mapping| (mapping.admin, mapping.mfa));
    format!(
        "SELECT {function}({}, '{id}', '{kind}', {admin}, {mfa});",
        literal(role)
    )
}

/// The parameter of a connection string.
pub fn user(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "@._-#".contains(c);
    if name.chars().all(is_plain) {
        return format!("user={name}");
    }
    // It is pasted into psql as well, where a backslash quotes nothing.
    if name.contains(|c: char| c == '\'' || c == '\\' || c.is_control()) {
        let bytes = name.bytes().map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        });
        return format!("postgresql:///?user={}", bytes.collect::<String>());
    }
    format!("user='{name}'")
}

/// A string constant. Not PostgreSQL's own function, so that this can be tested without a server.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        return format!("E'{}'", quoted.replace('\\', r"\\"));
    }
    format!("'{quoted}'")
}

pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names are strangers'.
    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(literal("a'; DROP TABLE x; --"), "'a''; DROP TABLE x; --'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(identifier("a\"; x"), "\"a\"\"; x\"");
        assert_eq!(shell_word("a'$(x)"), r"'a'\''$(x)'");
        assert_eq!(user("a host=x; b"), "user='a host=x; b'");
        assert_eq!(user(r"a'; b"), "postgresql:///?user=a%27%3B%20b");
        assert_eq!(user("a\n\\! b"), "postgresql:///?user=a%0A%5C%21%20b");
    }
}
