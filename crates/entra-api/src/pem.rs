//! PEM, RFC 7468, read so that no copy of a private key stays behind.
//!
//! The libraries at hand decode through buffers that they don't wipe.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::wiped::Wiped;

/// The content between one pair of `BEGIN` and `END` lines.
pub(crate) struct Section<'a> {
    pub(crate) label: &'a str,
    pub(crate) der: Zeroizing<Vec<u8>>,
}

/// Every section of a file, in order; text around them is skipped.
///
/// # Errors
///
/// What is wrong, without quoting the file.
pub(crate) fn sections(text: &str) -> Result<Vec<Section<'_>>, &'static str> {
    const INCOMPLETE: &str = "a section of it has no end";
    let mut sections = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = boundary(line, "-----BEGIN ") else {
            continue;
        };
        let mut encoded = Wiped::default();
        loop {
            let line = lines.next().ok_or(INCOMPLETE)?;
            if line.starts_with("-----") {
                match boundary(line, "-----END ") == Some(label) {
                    true => break,
                    false => return Err(INCOMPLETE),
                }
            }
            // RFC 1421, as OpenSSL once wrote it.
            if line.starts_with("Proc-Type:") && line.contains("ENCRYPTED") {
                return Err("its private key is encrypted");
            }
            encoded.append(line.as_bytes());
        }
        let encoded = encoded.into_bytes();
        // No less than it takes, so that the decoder needs no second buffer.
        let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(encoded.len())]);
        let length = STANDARD
            .decode_slice(encoded.as_slice(), &mut der)
            .map_err(|_| "a section of it is not base64")?;
        der.truncate(length);
        sections.push(Section { label, der });
    }
    Ok(sections)
}

fn boundary<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.strip_prefix(start)?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, Vec<u8>)>, &'static str> {
        let sections = sections(text)?;
        Ok(sections
            .into_iter()
            .map(|section| (section.label.to_owned(), section.der.to_vec()))
            .collect())
    }

    #[test]
    fn sections_are_read_in_order() {
        let text = "Bag Attributes\r\n-----BEGIN A-----\r\nAAEC\r\n AwQF\r\n-----END A-----\r\n\
                    between\n-----BEGIN PRIVATE KEY-----\n/+8=\n-----END PRIVATE KEY-----";
        assert_eq!(
            read(text).unwrap(),
            [
                ("A".to_owned(), vec![0, 1, 2, 3, 4, 5]),
                ("PRIVATE KEY".to_owned(), vec![0xff, 0xef]),
            ]
        );
        assert_eq!(read("nothing of the kind").unwrap(), []);
        assert_eq!(
            read("-----BEGIN A-----\n-----END A-----").unwrap(),
            [("A".to_owned(), vec![])]
        );
    }

    #[test]
    fn what_is_broken_is_refused() {
        for (text, expected) in [
            ("-----BEGIN A-----\nAAEC\n", "no end"),
            ("-----BEGIN A-----\nAAEC\n-----END B-----", "no end"),
            ("-----BEGIN A-----\nAAEC\n-----BEGIN A-----", "no end"),
            ("-----BEGIN A-----\nAA*C\n-----END A-----", "not base64"),
            ("-----BEGIN A-----\nAAE\n-----END A-----", "not base64"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nAAEC\n",
                "encrypted",
            ),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(expected), "{text:?}: {problem}");
        }
    }
}
