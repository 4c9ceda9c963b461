//! `entra-emulator control`: orders for a running server.

use std::time::Duration;

use reqwest::Method;
use reqwest::blocking::Client;
use serde_json::{Value, json};

use super::arguments::{ControlArguments, Order};
use super::error::CommandError;
use super::io::print;
use crate::directory::Change;
use crate::server::{DeviceOrder, FaultOrder, Running, ServeError};
use crate::state::StateDirectory;

const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: &ControlArguments) -> Result<(), CommandError> {
    let state = StateDirectory::open(&arguments.state)?;
    let running = Running::read(&state)?
        .ok_or_else(|| ServeError::NotRunning(arguments.state.display().to_string()))?;
    let (method, path, body) = match &arguments.order {
        Order::Keys => (Method::GET, "/keys", None),
        Order::Rotate => (Method::POST, "/keys/rotate", None),
        Order::Retire { key_id } => (
            Method::POST,
            "/keys/retire",
            Some(json!({ "key_id": key_id })),
        ),
        Order::Faults { clear: true, .. } => (Method::DELETE, "/faults", None),
        Order::Faults { fault: None, .. } => (Method::GET, "/faults", None),
        Order::Faults {
            fault: Some(fault),
            on,
            times,
            every,
            ..
        } => {
            let order = FaultOrder {
                fault: fault.clone(),
                endpoint: on.clone(),
                times: *times,
                every: *every,
            };
            (Method::PUT, "/faults", Some(json!(order)))
        }
        Order::Members { group, add, remove } => {
            let change = Change::Members {
                group: group.clone(),
                add: add.clone(),
                remove: remove.clone(),
            };
            (Method::POST, "/directory", Some(json!(change)))
        }
        Order::User { user, state } => {
            (Method::POST, "/directory", Some(json!(state.change(user))))
        }
        Order::Delete { name } => {
            let change = Change::Delete { name: name.clone() };
            (Method::POST, "/directory", Some(json!(change)))
        }
        Order::Device { user_code, answer } => {
            let order = DeviceOrder {
                user_code: user_code.clone(),
                answer: answer.answer(),
            };
            (Method::POST, "/device", Some(json!(order)))
        }
        Order::Requests { reset: true } => (Method::DELETE, "/requests", None),
        Order::Requests { reset: false } => (Method::GET, "/requests", None),
    };
    print(&format!(
        "{:#}",
        send(method, &format!("{}{path}", running.control), body)?
    ))
}

fn send(method: Method, address: &str, body: Option<Value>) -> Result<Value, CommandError> {
    // The control interface is on loopback: no proxy, and no certificates to look for.
    let client = Client::builder()
        .timeout(TIMEOUT)
        .no_proxy()
        .tls_certs_only(std::iter::empty())
        .build()?;
    let mut request = client.request(method, address);
    if let Some(body) = body {
        request = request
            .header("Content-Type", "application/json")
            .body(body.to_string());
    }
    let response = request.send()?;
    let status = response.status();
    let text = response.text()?;
    let answer: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if status.is_success() {
        return Ok(answer);
    }
    let problem = answer
        .get("error")
        .and_then(Value::as_str)
        .map(str::to_owned);
    Err(CommandError::Refused(
        problem.unwrap_or_else(|| format!("{status} {answer}")),
    ))
}
