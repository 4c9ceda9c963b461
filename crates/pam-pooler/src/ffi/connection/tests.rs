use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use zeroize::{Zeroize, Zeroizing};

use super::*;

/// Longer than the query that overwrites it, and shorter than libpq's first buffer.
const LENGTH: usize = 9_000;

/// How much of the credential is looked for.
const PART: usize = 64;

/// The credential is computed, so that the test itself has no copy.
fn byte(index: usize) -> u8 {
    let value = (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    b'!' + u8::try_from(value % 90).unwrap()
}

/// A server that knows one function, and accepts.
fn serve(mut client: UnixStream) {
    let mut length = [0; 4];
    client.read_exact(&mut length).unwrap();
    read(&mut client, length);
    client
        .write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
        .unwrap();
    let mut kind = [0];
    while client.read_exact(&mut kind).is_ok() && kind != *b"X" {
        client.read_exact(&mut length).unwrap();
        read(&mut client, length);
        let answer: &[u8] = match &kind {
            b"F" => b"V\0\0\0\x0C\0\0\0\x04\0\0\0\x01",
            _ => {
                b"T\0\0\0\x1C\0\x01oid\0\0\0\0\0\0\0\0\0\0\x1A\0\x04\xFF\xFF\xFF\xFF\0\0\
                D\0\0\0\x0C\0\x01\0\0\0\x0242C\0\0\0\x0DSELECT 1\0"
            }
        };
        client.write_all(answer).unwrap();
        client.write_all(b"Z\0\0\0\x05I").unwrap();
    }
}

/// Reads the rest of a message and keeps nothing of it.
fn read(client: &mut UnixStream, length: [u8; 4]) {
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap() - 4;
    let mut body = Zeroizing::new(vec![0; length]);
    client.read_exact(&mut body).unwrap();
}

/// How many copies this process's memory has of three parts of the credential.
fn copies() -> usize {
    const PAGE: usize = 4_096;
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    // So large that malloc gives it pages of its own: no part of memory is read together with its copy.
    let mut buffer = vec![0; 1 << 20];
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (begin, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [begin, end] = [begin, end].map(|place| usize::from_str_radix(place, 16).unwrap());
        for page in (begin..end).step_by(PAGE) {
            let part = &mut buffer[..(PAGE + PART - 1).min(end - page)];
            // Another thread may have freed it meanwhile.
            let Ok(read) = memory.read_at(part, page as u64) else {
                break;
            };
            found += part[..read]
                .windows(PART)
                .filter(|window| has_part_of_credential(window))
                .count();
            part.zeroize();
        }
    }
    found
}

fn has_part_of_credential(window: &[u8]) -> bool {
    [0, LENGTH / 2, LENGTH - PART]
        .into_iter()
        .any(|begin| (begin..).zip(window).all(|(at, found)| *found == byte(at)))
}

#[test]
fn the_next_probe_overwrites_the_credential() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    let conninfo = format!(
        "host={} port=5432 user=a dbname=b passfile=/dev/null/none",
        directory.path().display()
    );
    let mut connection = Libpq::connect(&conninfo).unwrap();
    connection.look_up(Duration::from_secs(60)).unwrap();
    let question = Question {
        role: b"alice".to_vec(),
        credential: Zeroizing::new((0..LENGTH).map(byte).collect()),
        client: "unix".to_owned(),
    };
    assert_eq!(
        connection.ask(&question).unwrap().verdict,
        Verdict::Accepted
    );
    drop(question);
    // The test can tell: libpq keeps it.
    assert_eq!(copies(), 3);
    connection.look_up(Duration::from_secs(60)).unwrap();
    assert_eq!(copies(), 0);
    drop(connection);
    server.join().unwrap();
}
