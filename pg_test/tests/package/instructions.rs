//! The instructions of a Dockerfile that packaging/Dockerfile uses.

use std::collections::BTreeMap;

use pg_test::Result;

/// One instruction, its variables not yet replaced.
#[derive(Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Name and default.
    Argument(String, String),
    /// Image, and the stage's name.
    From(String, Option<String>),
    Environment(String, String),
    WorkingDirectory(String),
    Copy {
        stage: Option<String>,
        from: String,
        to: String,
    },
    Run {
        caches: Vec<String>,
        script: String,
    },
    /// Says something about the image.
    Label(String),
    /// Whose the container's processes are.
    User(String),
    /// A command of the shell's.
    HealthCheck(String),
    EntryPoint(Vec<String>),
}

/// Reads a Dockerfile.
///
/// # Errors
/// It has an instruction, or a form of one, that is not known here: what isn't understood isn't tested.
pub fn read(text: &str) -> Result<Vec<Instruction>> {
    let mut instructions = Vec::new();
    let mut line = String::new();
    for part in text.lines() {
        if line.is_empty() && (part.starts_with('#') || part.trim().is_empty()) {
            continue;
        }
        match part.strip_suffix('\\') {
            Some(part) => line.push_str(part),
            None => {
                line.push_str(part);
                instructions.push(instruction(&line)?);
                line.clear();
            }
        }
    }
    Ok(instructions)
}

fn instruction(line: &str) -> Result<Instruction> {
    let unknown = || format!("not known to the tests: {line}");
    let (name, rest) = line.split_once(' ').ok_or_else(unknown)?;
    let rest = rest.trim();
    let words: Vec<&str> = rest.split_whitespace().collect();
    let pair = || {
        let (name, value) = rest.split_once('=').ok_or_else(unknown)?;
        Ok::<_, pg_test::Error>((name.to_owned(), value.to_owned()))
    };
    Ok(match (name, words.as_slice()) {
        ("ARG", [_]) => pair().map(|(name, value)| Instruction::Argument(name, value))?,
        ("ENV", [_]) => pair().map(|(name, value)| Instruction::Environment(name, value))?,
        ("FROM", [image]) => Instruction::From((*image).to_owned(), None),
        ("FROM", [image, "AS", stage]) => {
            Instruction::From((*image).to_owned(), Some((*stage).to_owned()))
        }
        ("LABEL", _) => Instruction::Label(rest.to_owned()),
        ("USER", [name]) => Instruction::User((*name).to_owned()),
        ("HEALTHCHECK", _) => {
            // How often, and how long it may take, is Docker's business.
            let (_, command) = rest.split_once(" CMD ").ok_or_else(unknown)?;
            Instruction::HealthCheck(command.trim().to_owned())
        }
        ("ENTRYPOINT", _) => Instruction::EntryPoint(serde_json::from_str(rest)?),
        ("WORKDIR", [path]) => Instruction::WorkingDirectory((*path).to_owned()),
        ("COPY", [from, to]) => Instruction::Copy {
            stage: None,
            from: (*from).to_owned(),
            to: (*to).to_owned(),
        },
        ("COPY", [flag, from, to]) => Instruction::Copy {
            stage: Some(flag.strip_prefix("--from=").ok_or_else(unknown)?.to_owned()),
            from: (*from).to_owned(),
            to: (*to).to_owned(),
        },
        ("RUN", _) => {
            let mut caches = Vec::new();
            let mut script = rest;
            while script.starts_with("--") {
                let (flag, more) = script.split_once(' ').ok_or_else(unknown)?;
                let cache = flag.strip_prefix("--mount=type=cache,target=");
                caches.push(cache.ok_or_else(unknown)?.to_owned());
                script = more.trim_start();
            }
            Instruction::Run {
                caches,
                script: script.to_owned(),
            }
        }
        _ => return Err(unknown().into()),
    })
}

/// Puts values in the places of `${NAME}` and `$NAME`.
///
/// # Errors
/// One has no value: a Dockerfile that says nothing there is wrong.
pub fn replaced(text: &str, values: &BTreeMap<String, String>) -> Result<String> {
    let mut parts = text.split('$');
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = match part.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or("an open brace")?,
            None => {
                let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                part.split_at(part.find(|c| !of_name(c)).unwrap_or(part.len()))
            }
        };
        let value = values.get(name);
        result += value.ok_or_else(|| format!("{name} has no value"))?;
        result += rest;
    }
    Ok(result)
}
