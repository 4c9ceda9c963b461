use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::*;

const SERVER: &str = "server = host=db.example.com user=aadauth_pooler dbname=postgres\n";

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

#[test]
fn the_server_is_named_and_its_certificate_verified() {
    let server = |conninfo: &str| parse(&format!("server = {conninfo}")).map(|read| read.server);
    for (conninfo, message) in [
        ("host=a user=b", "\"server\" must name \"dbname\""),
        ("user=b dbname=c", "\"server\" must name \"host\""),
        ("host=a dbname=c", "\"server\" must name \"user\""),
        (
            "host=a user=b dbname=c sslmode=require",
            "\"sslmode\" must be verify-full or verify-ca",
        ),
        (
            "host=/a,b user=b dbname=c sslmode=prefer",
            "\"sslmode\" must be verify-full or verify-ca",
        ),
        (
            "host=/a hostaddr=192.0.2.1 user=b dbname=c sslmode=prefer",
            "\"sslmode\" must be verify-full or verify-ca",
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
    let complete = server("host=a user='b\\'c' dbname=d").unwrap();
    for part in [
        "client_encoding=UTF8",
        "sslmode='verify-full'",
        "user='b\\'c'",
    ] {
        assert!(complete.contains(part), "{complete}");
    }
    let local = server("host=/run/postgresql user=b dbname=c sslmode=disable").unwrap();
    assert!(local.contains("sslmode='disable'"), "{local}");
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
    fs::OpenOptions::new()
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
