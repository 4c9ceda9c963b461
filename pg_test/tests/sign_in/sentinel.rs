//! No part of a token remains anywhere afterwards.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use pg_test::Result;
use pg_test::wire::{Connection, Request};
use uuid::Uuid;

use crate::Test;
use crate::rig::{OUR_LINES, Rig, ensure};

pub const TESTS: &[Test] = &[
    ("no_part_of_a_token_is_left", no_part_is_left),
    ("no_part_of_a_token_is_left_in_memory", none_in_memory),
];

/// Shorter pieces turn up by chance, or stand for what is no secret (the header's beginning).
pub const PIECE: usize = 16;

fn no_part_is_left(rig: &Rig) -> Result<()> {
    let server = rig.server("sentinel", |plan| {
        plan.set("log_min_messages", "debug5")
            .set("log_statement", "all")
            .set("log_connections", "on")
            .set("log_disconnections", "on")
            .set("log_error_verbosity", "verbose")
    })?;
    let person = rig.person(&server, "someone")?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    let good = rig.token_of(&person)?;
    let refused = rig.user("mallory@contoso.com").text()?;
    let named = |name: &str| -> Result<String> {
        let deviation = entra_emulator::Deviation::named(name).ok_or("no such deviation")?;
        rig.user("alice@contoso.com")
            .object_id(person.object_id)
            .deviation(deviation)
            .text()
    };
    let malformed = named("four-parts")?;
    let forged = named("foreign-key-known-kid")?;
    let unknown = named("unknown-kid")?;
    let large = rig.user("alice@contoso.com").size(20_000).text()?;
    let tokens = [&good, &refused, &malformed, &forged, &unknown, &large];

    // A session stays open and another waits at the prompt, so that process titles can be seen.
    let (mut session, mark) = rig.connect(&server, "someone")?;
    ensure(session.request()? == Request::Password, || {
        "no prompt".to_owned()
    })?;
    session.password(good.as_bytes())?;
    ensure(session.outcome()?.is_in(), || "not let in".to_owned())?;
    let mut marks = vec![mark];
    for token in tokens {
        marks.push(rig.sign_in(&server, "someone", token)?.mark);
    }
    // A token given for a local role is a wrong password, by SCRAM.
    rig.attempt(&server, "local", &good).psql("", "SELECT 1")?;
    for mark in &marks {
        rig.event(&server, mark)?;
    }

    let titles = pg_test::process::checked(std::process::Command::new("ps").args(["-eo", "args"]))?;
    let activity = server.sql("SELECT json_agg(a) FROM pg_stat_activity a")?;
    let audit = server.sql("SELECT json_agg(s) FROM aadauth.sign_ins s")?;
    let table = server.sql("SELECT json_agg(s) FROM aadauth.sign_in_audit s")?;
    let mut places = vec![
        ("log".to_owned(), server.log()?.into_bytes()),
        ("process titles".to_owned(), titles.into_bytes()),
        ("pg_stat_activity".to_owned(), activity.into_bytes()),
        ("aadauth.sign_ins".to_owned(), audit.into_bytes()),
        ("aadauth.sign_in_audit".to_owned(), table.into_bytes()),
    ];
    server.sql("CHECKPOINT")?;
    read_files(&server.data(), &mut places)?;
    let pieces = pieces(&tokens, PIECE);
    for (place, content) in &places {
        expect_none(&pieces, content).map_err(|error| format!("{place}: {error}"))?;
    }
    // The search itself is not blind: the log has the principal's id.
    let id = person.object_id.to_string();
    ensure(server.log()?.contains(&id), || {
        "the log does not name the principal".to_owned()
    })
}

/// Refuses content that has one of the pieces.
pub fn expect_none(pieces: &HashSet<&[u8]>, content: &[u8]) -> Result<()> {
    let mut windows = content.windows(PIECE);
    match windows.find(|window| pieces.contains(*window)) {
        Some(piece) => Err(format!("{:?} of a token", String::from_utf8_lossy(piece)).into()),
        None => Ok(()),
    }
}

/// Every piece of the tokens' claims and signatures. The header is no secret, and the key's id in it
/// belongs in the audit.
pub fn pieces<'a>(tokens: &[&'a String], length: usize) -> HashSet<&'a [u8]> {
    tokens
        .iter()
        .filter_map(|token| token.split_once('.'))
        .flat_map(|(_, secret)| secret.as_bytes().windows(length))
        .collect()
}

/// Pieces of a token's claims or signature that tell chance from a copy, in megabytes of memory.
pub const PIECE_IN_MEMORY: usize = 40;

/// A session that was opened with a token goes on for hours; its memory, and a core that it dumps, must
/// not contain the token.
fn none_in_memory(rig: &Rig) -> Result<()> {
    let server = rig.server("memory", |plan| {
        plan.hba(&[
            "local all someone pam pamservice=aadauth-{major}",
            OUR_LINES[0],
        ])
    })?;
    let person = rig.person(&server, "someone")?;
    let socket = server.socket().join(format!(".s.PGSQL.{}", server.port()));
    for way in ["TLS", "the Unix socket"] {
        let mark = format!("test-{}", Uuid::new_v4().simple());
        let parameters = [
            ("user", "someone"),
            ("database", "postgres"),
            ("application_name", mark.as_str()),
        ];
        let mut session = if way == "TLS" {
            Connection::open(server.port(), Some(&rig.tls), &parameters)?
        } else {
            Connection::open_local(&socket, &parameters)?
        };
        let request = session.request()?;
        ensure(request == Request::Password, || {
            format!("{way}: {request:?}")
        })?;
        let token = rig.token_of(&person)?;
        session.password(token.as_bytes())?;
        let outcome = session.outcome()?;
        ensure(outcome.is_in(), || format!("{way}: {outcome:?}"))?;
        let backend = server.sql(&format!(
            "SELECT pid FROM pg_stat_activity WHERE application_name = '{mark}'"
        ))?;
        let regions = read_memory(&backend)?;
        // The search is not blind: what came with the token in the same connection is there.
        ensure(
            regions.iter().any(|(_, content)| {
                content
                    .windows(mark.len())
                    .any(|window| window == mark.as_bytes())
            }),
            || format!("{way}: the memory that was read is not the session's"),
        )?;
        let pieces = pieces(&[&token], PIECE_IN_MEMORY);
        let mut found = Vec::new();
        for (region, content) in &regions {
            let count = content
                .windows(PIECE_IN_MEMORY)
                .filter(|window| pieces.contains(*window))
                .count();
            if count > 0 {
                found.push(format!("{count} pieces in {region}"));
            }
        }
        ensure(found.is_empty(), || {
            format!("by {way}, {} pieces: {}", pieces.len(), found.join("; "))
        })?;
    }
    Ok(())
}

/// The memory that a process has for itself and may write to (proc(5)): each region with its line in
/// `maps`.
pub fn read_memory(process: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let memory = fs::File::open(format!("/proc/{process}/mem"))?;
    let mut regions = Vec::new();
    for line in fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
        let mut fields = line.split_whitespace();
        let (range, permissions) = (fields.next(), fields.next());
        if !permissions.is_some_and(|all| all.starts_with("rw") && all.ends_with('p')) {
            continue;
        }
        let (from, to) = range
            .and_then(|range| range.split_once('-'))
            .ok_or("no range")?;
        let from = u64::from_str_radix(from, 16)?;
        let length = u64::from_str_radix(to, 16)? - from;
        let mut content = vec![0; usize::try_from(length)?];
        memory.read_exact_at(&mut content, from)?;
        regions.push((line.to_owned(), content));
    }
    Ok(regions)
}

fn read_files(directory: &Path, places: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            // The databases that initdb made are large, and the library writes to none but the audit's, which
            // was read as a table.
            if !path.ends_with("base/1") && !path.ends_with("base/4") {
                read_files(&path, places)?;
            }
        } else if let Ok(content) = fs::read(&path) {
            places.push((path.display().to_string(), content));
        }
    }
    Ok(())
}
