use super::*;

fn read(text: &str) -> Result<Ini, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgbouncer.ini");
    fs::write(&file, text).unwrap();
    Ini::read(&file)
}

fn setting<'a>(ini: &'a Ini, name: &str) -> Option<&'a str> {
    ini.settings.get(name).map(|(value, _)| value.as_str())
}

#[test]
fn lines_as_pgbouncer_reads_them() {
    let ini = read(
        "; a comment\n# another\n\n[databases]\n'my db' = host=a user='b''c'\n* = host=/run\n\
         \t[pgbouncer] auth_type=trust\r\n  auth_file =\n listen_addr = a ; no comment \n'pool_mode' = session\n\
         [users]\nalice = pool_mode=statement\n[peers]\n1 = host=x\n",
    )
    .unwrap();
    let databases: Vec<_> = ini
        .databases
        .iter()
        .map(|line| (line.name.as_str(), line.value("user"), line.place.1))
        .collect();
    assert_eq!(
        databases,
        [("my db", Some("b'c"), Some(5)), ("*", None, Some(6))]
    );
    for (name, expected) in [
        ("auth_type", Some("trust")),
        ("auth_file", Some("")),
        ("listen_addr", Some("a ; no comment")),
        ("pool_mode", Some("session")),
        ("1", None),
    ] {
        assert_eq!(setting(&ini, name), expected, "{name}");
    }
    assert_eq!(ini.settings["auth_file"].1.1, Some(8));
}

#[test]
fn the_last_value_counts_and_a_second_section_begins_again() {
    let ini = read("[pgbouncer]\nauth_type = pam\nauth_type = any\n").unwrap();
    assert_eq!(setting(&ini, "auth_type"), Some("any"));
    let ini = read("[pgbouncer]\nauth_type = pam\nauth_user = a\n[pgbouncer]\n").unwrap();
    assert_eq!(setting(&ini, "auth_type"), None);
    assert_eq!(setting(&ini, "auth_user"), Some("a"));
    let ini = read("[databases]\na = user=b user=c\na = host=d\n[pgbouncer]").unwrap();
    assert_eq!(ini.databases.len(), 2);
    assert_eq!(ini.databases[0].value("user"), Some("c"));
}

#[test]
fn included_files_are_read_where_they_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgbouncer.ini");
    let included = directory.path().join("more databases.ini");
    fs::write(&included, "a = user=b\n[pgbouncer]\n").unwrap();
    let include = format!(
        "[databases]\n%include\t{} \nauth_type = any\n",
        included.display()
    );
    fs::write(&file, include).unwrap();
    let ini = Ini::read(&file).unwrap();
    assert_eq!(ini.files, [file.clone(), included.clone()]);
    assert_eq!(
        ini.databases[0].place.to_string(),
        format!("{}:1", included.display())
    );
    assert_eq!(setting(&ini, "auth_type"), Some("any"));
    fs::write(&included, format!("%include {}\n", file.display())).unwrap();
    let error = Ini::read(&file).err().unwrap();
    assert!(
        error.ends_with("too many files include each other"),
        "{error}"
    );
    fs::remove_file(&included).unwrap();
    let error = Ini::read(&file).err().unwrap();
    assert!(
        error.contains("pgbouncer.ini:2") && error.contains("No such file"),
        "{error}"
    );
}

#[test]
fn what_pgbouncer_refuses() {
    for (text, message) in [
        (
            "auth_type = pam\n[pgbouncer]",
            ":1: a value outside of all sections",
        ),
        ("[databases]\na = host=b", ": it has no section [pgbouncer]"),
        (
            "[pgbouncer]\n[other]",
            ":2: PgBouncer has no section \"other\"",
        ),
        ("[pgbouncer\n]", ":1: syntax error"),
        ("[pgbouncer]\n\nauth_type pam", ":3: syntax error"),
        ("[pgbouncer]\n= pam", ":2: syntax error"),
        ("[pgbouncer]\n'auth_type = pam", ":2: syntax error"),
        ("[pgbouncer]\n%includes a", ":2: syntax error"),
        (
            "[pgbouncer]\n[databases]\na = user",
            ":3: syntax error in the connection string",
        ),
        (
            "[pgbouncer]\n[users]\na = x='b",
            ":3: a quote is not closed",
        ),
    ] {
        let error = read(text).err().unwrap_or_default();
        assert!(error.ends_with(message), "{text}: {error}");
    }
}
