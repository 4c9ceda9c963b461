//! packaging/monitoring: postgres_exporter reads the statistics, and Prometheus's alerts fire and clear.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pg_test::Result;
use pg_test::client::without_pg_variables;
use pg_test::document::block_with;
use pg_test::place::{source, target};
use pg_test::process::{Owned, checked};
use pg_test::rig::{Rig, ensure};
use pg_test::server::Server;
use pg_test::set_up::free_port;
use pg_test::wait::until;
use reqwest::blocking::get;
use rustix::process::Signal;
use serde_json::Value;

use crate::Test;

pub const TESTS: &[Test] = &[
    ("promtool_accepts_the_rules", rules),
    ("an_alert_fires_and_clears", alerts),
];

/// With the tests beside them: each alert fires when it should, after its time, and clears.
fn rules(_: &Rig) -> Result<()> {
    for arguments in [
        ["check", "rules", "--lint-fatal", "alerts.yml"].as_slice(),
        &["test", "rules", "alerts.test.yml"],
    ] {
        let mut promtool = Command::new(program("promtool"));
        let printed = checked(promtool.args(arguments).current_dir(monitoring()))?;
        ensure(printed.contains("SUCCESS"), || printed.clone())?;
    }
    Ok(())
}

fn alerts(rig: &Rig) -> Result<()> {
    let mut server = rig.server("monitored", |plan| plan)?;
    let page = fs::read_to_string(source().join("docs/statistics.md"))?;
    server.sql(&block_with(&page, "CREATE ROLE exporter")?.text)?;
    // Some of each kind.
    let person = rig.person(&server, "someone")?;
    rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    rig.refused(&server, "someone", "no token", "token-malformed")?;

    let exported = format!("127.0.0.1:{}", free_port()?);
    let _exporter = exporter(rig, &server, &page, &exported)?;
    let metrics = || body(&format!("http://{exported}/metrics"));
    until("the exporter has read the statistics", || {
        Ok(metrics()?.contains("aadauth_worker_running{").then_some(()))
    })?;
    expect_all(&server, &metrics()?)?;

    let prometheus = format!("127.0.0.1:{}", free_port()?);
    let _prometheus = start_prometheus(rig, &prometheus, &exported)?;
    until("Prometheus has the metrics", || {
        let query = format!("http://{prometheus}/api/v1/query?query=aadauth_worker_running");
        let is_there = get(query).and_then(|answer| answer.text());
        Ok(is_there
            .is_ok_and(|text| text.contains("group-sync"))
            .then_some(()))
    })?;
    server.configure(&[("aadauth.database", Some("not_there"))])?;
    let expected = ("AadauthWorkerNotRunning".to_owned(), "audit".to_owned());
    until("the alert fires", || {
        Ok(firing(&prometheus)?.contains(&expected).then_some(()))
    })?;
    server.configure(&[("aadauth.database", None)])?;
    until("all alerts clear", || {
        Ok(firing(&prometheus)?.is_empty().then_some(()))
    })
}

/// The alerts that fire, with the worker that they name.
fn firing(prometheus: &str) -> Result<Vec<(String, String)>> {
    let answer = body(&format!("http://{prometheus}/api/v1/alerts"))?;
    let answer: Value = serde_json::from_str(&answer)?;
    let alerts = answer.pointer("/data/alerts").and_then(Value::as_array);
    let label = |alert: &Value, name| {
        alert["labels"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    Ok(alerts
        .ok_or("no list of alerts")?
        .iter()
        .filter(|alert| alert["state"] == "firing")
        .map(|alert| (label(alert, "alertname"), label(alert, "worker")))
        .collect())
}

/// What is there; nothing as long as nobody listens.
fn body(address: &str) -> Result<String> {
    match get(address) {
        Ok(answer) => Ok(answer.text()?),
        Err(error) if error.is_connect() => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}

/// As the page starts it, with this server's address and another of its own.
fn exporter(rig: &Rig, server: &Server, page: &str, address: &str) -> Result<Owned> {
    let password = rig.run().path().join("exporter-password");
    fs::write(&password, "a-long-random-password")?;
    let block = block_with(page, "prometheus-postgres-exporter")?.text;
    let script = [
        (
            "db.example.com:5432",
            format!("localhost:{}", server.port()),
        ),
        (
            "/etc/prometheus/exporter-password",
            password.display().to_string(),
        ),
        ("127.0.0.1:9187", address.to_owned()),
        (
            "\nprometheus-postgres-exporter",
            "\nexec prometheus-postgres-exporter".to_owned(),
        ),
    ]
    .into_iter()
    .try_fold(block, |script, (from, to)| {
        let replaced = script.replace(from, &to);
        ensure(replaced != script, || {
            format!("docs/statistics.md lacks {from}")
        })
        .map(|()| replaced)
    })?;
    let mut command = Command::new("bash");
    without_pg_variables(&mut command);
    command
        .args(["-c", &script])
        .current_dir(source())
        .env(
            "PATH",
            std::env::join_paths([programs(), "/usr/bin".into(), "/bin".into()])?,
        )
        .env("PGSSLROOTCERT", rig.emulator.authorities());
    Owned::start("postgres_exporter", &mut command, Signal::TERM)
}

/// Everything that the view has and that is not NULL, by the same names and labels.
fn expect_all(server: &Server, metrics: &str) -> Result<()> {
    let exported: BTreeSet<String> = metrics
        .lines()
        .filter(|line| line.starts_with("aadauth_"))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, _)| sorted(name))
        .collect();
    let in_view = server.sql(
        "SELECT metric || '{' || (SELECT coalesce(string_agg(format('%s=\"%s\"', key, value), ','), '')
             FROM jsonb_each_text(labels)) || '}'
         FROM aadauth.statistics WHERE value IS NOT NULL
         UNION ALL
         SELECT format('aadauth_configuration_findings{severity=\"%s\"}', severity)
         FROM aadauth.configuration_findings()",
    )?;
    let expected: BTreeSet<String> = in_view.lines().map(sorted).collect();
    ensure(expected.len() > 80 && exported == expected, || {
        let missing: Vec<_> = expected.difference(&exported).collect();
        let further: Vec<_> = exported.difference(&expected).collect();
        format!("the exporter lacks {missing:?}, and has {further:?}")
    })
}

/// The metric with its labels in order, without the one that the exporter adds.
fn sorted(metric: &str) -> String {
    let (name, labels) = metric.split_once('{').unwrap_or((metric, ""));
    let mut labels: Vec<&str> = labels
        .trim_end_matches('}')
        .split(',')
        .filter(|label| !label.is_empty() && !label.starts_with("server="))
        .collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// With the rules as they are, but for how long a state must last: minutes, which promtool tests.
fn start_prometheus(rig: &Rig, address: &str, exporter: &str) -> Result<Owned> {
    let place = rig.run().path().join("prometheus");
    fs::create_dir(&place)?;
    let rules = fs::read_to_string(monitoring().join("alerts.yml"))?;
    let at_once = rules
        .replace("for: 5m", "for: 1s")
        .replace("for: 15m", "for: 1s");
    let times = |begin| at_once.matches(begin).count();
    ensure(times("for: ") == times("for: 1s"), || at_once.clone())?;
    fs::write(place.join("alerts.yml"), at_once)?;
    fs::write(
        place.join("prometheus.yml"),
        format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: postgresql
    static_configs: [{{targets: ['{exporter}']}}]
"
        ),
    )?;
    let mut command = Command::new(program("prometheus"));
    command
        .arg("--config.file=prometheus.yml")
        .arg("--log.level=warn")
        .arg("--storage.tsdb.path=data")
        .arg(format!("--web.listen-address={address}"))
        .current_dir(&place);
    Owned::start("prometheus", &mut command, Signal::TERM)
}

fn monitoring() -> PathBuf {
    source().join("packaging/monitoring")
}

fn program(name: &str) -> PathBuf {
    programs().join(name)
}

/// Where `.ci/servers` unpacks them.
fn programs() -> PathBuf {
    target().join(Path::new("servers/prometheus-2.42/usr/bin"))
}
