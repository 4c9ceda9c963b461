//! Parses a PAM service file as libpam does, and determines whether its modules accept a wrong password.

use std::collections::VecDeque;

/// Limits the depth of files that include each other.
const MAX_DEPTH: usize = 8;

/// One line of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `auth`, `account`, `password` or `session`.
    pub kind: String,
    /// `required`, `[success=1 default=ignore]` and so on.
    pub control: String,
    pub module: String,
}

/// The lines of a service file, in lower case where libpam ignores case; included files replace the lines that include
/// them. `read` returns the content of a service's file.
///
/// As `_pam_parse_conf_file` in pam_handlers.c; `@include` is Debian's.
pub fn parse(service: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<Line> {
    let mut lines = Vec::new();
    include(service, None, read, &mut lines, 0);
    lines
}

fn include(
    service: &str,
    only: Option<&str>,
    read: &dyn Fn(&str) -> Option<String>,
    lines: &mut Vec<Line>,
    depth: usize,
) {
    let Some(text) = read(service).filter(|_| depth < MAX_DEPTH) else {
        return;
    };
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (first, rest) = word(line);
        if first.eq_ignore_ascii_case("@include") {
            include(word(rest).0, only, read, lines, depth + 1);
            continue;
        }
        let (control, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']').unwrap_or((rest, "")),
            None => word(rest),
        };
        let kind = first.trim_start_matches('-').to_ascii_lowercase();
        let control = control.to_ascii_lowercase();
        let module = word(rest.trim_start()).0.to_owned();
        if module.is_empty() || only.is_some_and(|only| only != kind) {
            continue;
        }
        if control == "include" || control == "substack" {
            include(&module, Some(&kind), read, lines, depth + 1);
        } else {
            lines.push(Line {
                kind,
                control,
                module,
            });
        }
    }
}

/// The first word, and the rest.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// A module's result for a wrong password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ModuleResult {
    Success,
    Ignore,
    Failure,
}

fn result_of(module: &str) -> ModuleResult {
    let name = module.rsplit('/').next().unwrap_or(module);
    match name {
        "pam_permit.so" => ModuleResult::Success,
        "pam_warn.so" | "pam_env.so" | "pam_nologin.so" | "pam_faildelay.so" | "pam_echo.so" => {
            ModuleResult::Ignore
        }
        _ => ModuleResult::Failure,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Ok,
    Done,
    Bad,
    Die,
    Ignore,
    Reset,
    Jump(usize),
}

/// Whether the stack of that kind accepts a wrong password, evaluated as by `_pam_dispatch_aux` in pam_dispatch.c.
pub fn accepts_wrong_password(lines: &[Line], kind: &str) -> bool {
    let mut stack: VecDeque<&Line> = lines.iter().filter(|line| line.kind == kind).collect();
    // Undecided, or whether all results that counted so far were successes.
    let mut impression = None;
    while let Some(line) = stack.pop_front() {
        let result = result_of(&line.module);
        let action = action(&line.control, result);
        match action {
            Action::Ignore => {}
            Action::Reset => impression = None,
            Action::Bad | Action::Die => impression = Some(false),
            Action::Ok | Action::Done | Action::Jump(_) => {
                if impression != Some(false) && result == ModuleResult::Success {
                    impression = Some(true);
                }
            }
        }
        match action {
            Action::Die => break,
            Action::Done if impression == Some(true) => break,
            Action::Jump(over) => drop(stack.drain(..over.min(stack.len()))),
            _ => {}
        }
    }
    impression == Some(true)
}

/// The action that the control field assigns to a module's result (pam.conf(5)).
fn action(control: &str, result: ModuleResult) -> Action {
    match (control, result) {
        ("required" | "requisite" | "optional", ModuleResult::Success) => Action::Ok,
        ("sufficient", ModuleResult::Success) => Action::Done,
        ("required" | "requisite" | "optional" | "sufficient", ModuleResult::Ignore) => {
            Action::Ignore
        }
        ("required", ModuleResult::Failure) => Action::Bad,
        ("requisite", ModuleResult::Failure) => Action::Die,
        ("optional" | "sufficient", ModuleResult::Failure) => Action::Ignore,
        _ => {
            let value = |name: &str| {
                control
                    .split_whitespace()
                    .filter_map(|pair| pair.split_once('='))
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| value)
            };
            let name = match result {
                ModuleResult::Success => "success",
                ModuleResult::Ignore => "ignore",
                ModuleResult::Failure => "auth_err",
            };
            match value(name).or_else(|| value("default")) {
                Some("ok") => Action::Ok,
                Some("done") => Action::Done,
                Some("die") => Action::Die,
                Some("ignore") => Action::Ignore,
                Some("reset") => Action::Reset,
                Some(number) => number.parse().map_or(Action::Bad, Action::Jump),
                None => Action::Bad,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> bool {
        let read = |service: &str| match service {
            "other" => Some(text.to_owned()),
            // Debian's, without its comments.
            "common-auth" => Some(
                "auth\t[success=1 default=ignore]\tpam_unix.so nullok\n\
                 auth\trequisite\t\t\tpam_deny.so\n\
                 auth\trequired\t\t\tpam_permit.so\n"
                    .to_owned(),
            ),
            "loop" => Some("@include loop".to_owned()),
            _ => None,
        };
        accepts_wrong_password(&parse("other", &read), "auth")
    }

    #[test]
    fn a_stack_is_evaluated_as_by_libpam() {
        for (text, expected) in [
            ("", false),
            ("auth required pam_permit.so", true),
            ("AUTH  Required\t/lib/security/pam_permit.so", true),
            ("auth required \\\n pam_permit.so", true),
            ("-auth required pam_permit.so # fine", true),
            ("# auth required pam_permit.so", false),
            ("account required pam_permit.so", false),
            ("auth required pam_deny.so", false),
            (
                "auth required pam_deny.so\nauth required pam_permit.so",
                false,
            ),
            (
                "auth sufficient pam_permit.so\nauth required pam_deny.so",
                true,
            ),
            (
                "auth optional pam_unix.so\nauth required pam_permit.so",
                true,
            ),
            (
                "auth required pam_unix.so\nauth sufficient pam_permit.so",
                false,
            ),
            (
                "auth required pam_warn.so\nauth required pam_permit.so",
                true,
            ),
            ("auth required pam_warn.so", false),
            ("@include common-auth", false),
            ("auth include common-auth", false),
            ("auth substack common-auth", false),
            ("@include common-auth\nauth sufficient pam_permit.so", false),
            (
                "auth [default=1] pam_unix.so\nauth requisite pam_deny.so\nauth required pam_permit.so",
                true,
            ),
            ("auth [success=ok default=die] pam_permit.so", true),
            ("auth [success=bad] pam_permit.so", false),
            (
                "auth [success=ok default=ignore] pam_permit.so\nauth [default=reset] pam_unix.so",
                false,
            ),
            ("@include loop", false),
            ("auth required", false),
        ] {
            assert_eq!(accepts(text), expected, "{text}");
        }
    }
}
