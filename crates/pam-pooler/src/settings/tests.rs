use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use super::*;

const SERVER: &str = "server = host=db.example.com user=aadauth_pooler dbname=postgres sslrootcert=/e sslcert=/f sslkey=/g\n";

#[test]
fn what_is_left_out_has_a_default() {
    let settings = parse(SERVER).unwrap();
    assert_eq!(settings.deadline, Duration::from_millis(100));
    assert_eq!(settings.wake, Wake::Socket);
}

#[test]
fn every_setting_is_read() {
    let text = format!("# a comment\n\n {SERVER}deadline=250 ms\n\twake = off");
    let settings = parse(&text).unwrap();
    assert_eq!(settings.deadline, Duration::from_millis(250));
    assert_eq!(settings.wake, Wake::Off);
    let settings = parse(&format!("{SERVER}wake = signal")).unwrap();
    assert_eq!(settings.wake, Wake::SocketAndSignal);
}

#[test]
fn other_lines_are_refused_with_their_number() {
    for (line, message) in [
        ("deadline", "line 2: must be \"name = value\""),
        (
            "port = 1",
            "line 2: the settings are \"server\", \"deadline\" and \"wake\"",
        ),
        (
            "deadline = 9",
            "line 2: \"deadline\" must be a number of milliseconds from 10 to 5000",
        ),
        (
            "deadline = 1s",
            "line 2: \"deadline\" must be a number of milliseconds from 10 to 5000",
        ),
        ("wake = yes", "line 2: \"wake\" must be on, off or signal"),
        (SERVER, "line 2: \"server\" is set twice"),
    ] {
        assert_eq!(parse(&format!("{SERVER}{line}")).unwrap_err(), message);
    }
    assert_eq!(
        parse("wake = on").unwrap_err(),
        "\"server\" must be set to a connection string"
    );
}

fn server(conninfo: &str) -> Result<String, String> {
    parse(&format!("server = {conninfo}")).map(|read| read.server)
}

#[test]
fn the_server_is_named_and_its_certificate_verified() {
    const FILES: &str = "sslrootcert=/e sslcert=/f sslkey=/g";
    for (conninfo, message) in [
        ("host=a user=b", "\"server\" must name \"dbname\""),
        ("user=b dbname=c", "\"server\" must name \"host\""),
        ("host=a dbname=c", "\"server\" must name \"user\""),
        (
            "host=a user=b dbname=c sslmode=require",
            "\"sslmode\" must be verify-full",
        ),
        (
            "host=a user=b dbname=c sslmode=verify-ca",
            "\"sslmode\" must be verify-full",
        ),
        (
            "host=/a,b user=b dbname=c sslmode=prefer",
            "\"sslmode\" must be verify-full",
        ),
        (
            "host=/a hostaddr=192.0.2.1 user=b dbname=c sslmode=prefer",
            "\"sslmode\" must be verify-full",
        ),
        (
            "host=a user=b dbname=c sslcert=/f sslkey=/g",
            "\"server\" must name \"sslrootcert\", the file with the authority that issued the server's certificate",
        ),
        (
            "host=a user=b dbname=c sslrootcert='' sslcert=/f sslkey=/g",
            "\"server\" must name \"sslrootcert\", the file with the authority that issued the server's certificate",
        ),
        (
            "host=a user=b dbname=c sslrootcert=e sslcert=/f sslkey=/g",
            "\"sslrootcert\" must be an absolute path",
        ),
        (
            "host=a user=b dbname=c sslrootcert=/e sslkey=/g",
            "\"server\" must name \"sslcert\", the file with the pooler's certificate",
        ),
        (
            "host=a user=b dbname=c sslrootcert=/e sslcert=/f",
            "\"server\" must name \"sslkey\", the file with the pooler's key",
        ),
        (
            "host=/a user=b dbname=c gssencmode=prefer",
            "\"gssencmode\" must be disable",
        ),
        (
            "host=/a user=b dbname=c application_name=d",
            "\"application_name\" is always that of the module and must not be set",
        ),
        (
            "host=/a user=b dbname=c sslpassword=d",
            "\"sslpassword\" is not supported: use a key without one that only PgBouncer can read",
        ),
        (
            "host=a user=b dbname=c password=d",
            "\"password\" is not supported: use a client certificate, or peer authentication on a Unix socket",
        ),
        ("service=a", "\"server\" must name \"host\""),
        (
            "host=a user=b dbname=c service=d",
            "\"service\" is not supported: name the options",
        ),
        (
            "host=a user=b dbname=c hots=d",
            "invalid connection option \"hots\"",
        ),
    ] {
        assert_eq!(server(conninfo).unwrap_err(), format!("line 1: {message}"));
    }
    let complete = server(&format!("host=a user='b\\'c' dbname=d {FILES}")).unwrap();
    for part in [
        "client_encoding=UTF8",
        "sslmode='verify-full'",
        "gssencmode='disable'",
        "user='b\\'c'",
        concat!(
            "application_name='pam_aadauth ",
            env!("CARGO_PKG_VERSION"),
            "'"
        ),
    ] {
        assert!(complete.contains(part), "{complete}");
    }
    let local = server("host=/run/postgresql user=b dbname=c sslmode=disable").unwrap();
    assert!(local.contains("sslmode='disable'"), "{local}");
}

#[test]
fn nothing_is_taken_from_the_home_directory() {
    let complete = server("host=/a user=b dbname=c passfile=''").unwrap();
    for part in ["passfile='/dev/null/none'", "sslcrl='/dev/null/none'"] {
        assert!(complete.contains(part), "{complete}");
    }
    let own = server("host=/a user=b dbname=c passfile=/d sslcrldir=/e").unwrap();
    for part in ["passfile='/d'", "sslcrl=''", "sslcrldir='/e'"] {
        assert!(own.contains(part), "{own}");
    }
}

#[test]
fn the_file_is_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pooler.conf");
    let write = |deadline: u32| {
        fs::write(&file, format!("{SERVER}deadline = {deadline}\n")).unwrap();
    };
    write(200);
    let first = current(&file).unwrap();
    assert!(Arc::ptr_eq(&first, &current(&file).unwrap()));
    write(1_000);
    assert_eq!(current(&file).unwrap().deadline, Duration::from_secs(1));
    OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap()
        .write_all(b"wake = perhaps\n")
        .unwrap();
    let error = current(&file).unwrap_err();
    assert!(
        error.ends_with("line 3: \"wake\" must be on, off or signal"),
        "{error}"
    );
    write(200);
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let error = current(&file).unwrap_err();
        assert!(error.contains("must not be writable"), "{error}");
    }
    let error = current(directory.path()).unwrap_err();
    assert!(error.ends_with("it is not a regular file"), "{error}");
}

/// A FIFO without a writer: opening it would wait for one.
#[test]
fn a_fifo_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pooler.conf");
    let made = Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(current(&file)));
    let error = receive.recv_timeout(Duration::from_secs(10));
    let error = error.unwrap().unwrap_err();
    assert!(error.ends_with("it is not a regular file"), "{error}");
}

#[test]
fn a_file_is_read_as_a_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pooler.conf");
    let rest = usize::try_from(LONGEST).unwrap() - SERVER.len();
    fs::write(&file, format!("{SERVER}{}", "#".repeat(rest))).unwrap();
    current(&file).unwrap();
    fs::write(&file, format!("{SERVER}{}\nwake = off", "#".repeat(rest))).unwrap();
    let error = current(&file).unwrap_err();
    assert!(error.ends_with("it is longer than 65536 bytes"), "{error}");
    fs::write(&file, b"# caf\xE9\n").unwrap();
    let error = current(&file).unwrap_err();
    assert!(error.ends_with("it is not UTF-8"), "{error}");
}
