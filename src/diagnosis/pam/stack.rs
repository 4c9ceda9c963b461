//! A PAM service file as libpam reads it, and whether its modules would let anybody in.

use std::collections::VecDeque;

/// Files that include each other are read no deeper.
const DEEPEST: usize = 8;

/// One line of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `auth`, `account`, `password` or `session`.
    pub kind: String,
    /// `required`, `[success=1 default=ignore]` and so on.
    pub control: String,
    pub module: String,
}

/// The lines of a service file, in lower case as far as libpam doesn't care, with those of the files that
/// it includes in their place. `read` has the content of a service's file.
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
    let Some(text) = read(service).filter(|_| depth < DEEPEST) else {
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

/// The first word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// What a module says of a stranger with a wrong password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Success,
    Ignore,
    Failure,
}

fn of_stranger(module: &str) -> Said {
    let name = module.rsplit('/').next().unwrap_or(module);
    match name {
        "pam_permit.so" => Said::Success,
        "pam_warn.so" | "pam_env.so" | "pam_nologin.so" | "pam_faildelay.so" | "pam_echo.so" => {
            Said::Ignore
        }
        _ => Said::Failure,
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

/// Whether the stack of that kind lets in a stranger with a wrong password, as `_pam_dispatch_aux` in
/// pam_dispatch.c counts.
pub fn accepts_strangers(lines: &[Line], kind: &str) -> bool {
    let mut stack: VecDeque<&Line> = lines.iter().filter(|line| line.kind == kind).collect();
    // Undecided, or whether all that counted so far was a success.
    let mut impression = None;
    while let Some(line) = stack.pop_front() {
        let said = of_stranger(&line.module);
        let action = action(&line.control, said);
        match action {
            Action::Ignore => {}
            Action::Reset => impression = None,
            Action::Bad | Action::Die => impression = Some(false),
            Action::Ok | Action::Done | Action::Jump(_) => {
                if impression != Some(false) && said == Said::Success {
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

/// What the control field makes of a module's answer (pam.conf(5)).
fn action(control: &str, said: Said) -> Action {
    match (control, said) {
        ("required" | "requisite" | "optional", Said::Success) => Action::Ok,
        ("sufficient", Said::Success) => Action::Done,
        ("required" | "requisite" | "optional" | "sufficient", Said::Ignore) => Action::Ignore,
        ("required", Said::Failure) => Action::Bad,
        ("requisite", Said::Failure) => Action::Die,
        ("optional" | "sufficient", Said::Failure) => Action::Ignore,
        _ => {
            let value = |name: &str| {
                control
                    .split_whitespace()
                    .filter_map(|pair| pair.split_once('='))
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| value)
            };
            let name = match said {
                Said::Success => "success",
                Said::Ignore => "ignore",
                Said::Failure => "auth_err",
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
        accepts_strangers(&parse("other", &read), "auth")
    }

    #[test]
    fn a_stack_is_judged_as_libpam_does() {
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
