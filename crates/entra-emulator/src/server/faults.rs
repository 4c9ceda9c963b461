//! Faults on request: what networks and busy services do to those who rely on them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::endpoint::Endpoint;

/// One disturbance of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The answer comes this many milliseconds late.
    Slow(u64),
    /// Connections are closed as soon as they are made. For all endpoints alike.
    Down,
    /// Status 503.
    Unavailable,
    /// Status 500.
    Error,
    /// Status 429, to be tried again after this many seconds.
    Throttled(u64),
    /// Status 200, and bytes that are no text.
    Garbage,
    /// Status 200, and a JSON document of this many bytes.
    Huge(usize),
    /// Status 302 to this address.
    Redirect(String),
    /// The first half of the answer.
    Truncated,
    /// A key set without keys.
    EmptyKeys,
    /// Metadata that names another issuer.
    WrongIssuer,
    /// Metadata whose key address is on another host.
    WrongKeysHost,
}

/// A fault, where it strikes (everywhere, where nothing is said), how often (until cleared), and
/// which requests it strikes: each, or every second, third and so on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultOrder {
    pub fault: Fault,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
}

impl std::str::FromStr for Fault {
    type Err = String;

    /// `name` or `name=value`.
    fn from_str(text: &str) -> Result<Fault, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let json = match value {
            None => json!(name),
            Some(value) => match value.parse::<u64>() {
                Ok(number) => json!({ name: number }),
                Err(_) => json!({ name: value }),
            },
        };
        serde_json::from_value(json).map_err(|error| format!("fault \"{text}\": {error}"))
    }
}

#[derive(Default)]
pub(super) struct Faults {
    standing: BTreeMap<Endpoint, Standing>,
    pub(super) down: bool,
}

/// The faults between an endpoint and its clients.
struct Standing {
    fault: Fault,
    /// How often it is still to strike.
    times: Option<u64>,
    /// Every how many requests it strikes, and how many have come since it last did.
    every: u64,
    spared: u64,
}

impl Faults {
    pub(super) fn set(&mut self, order: &FaultOrder) -> Result<(), String> {
        let endpoints = match order.endpoint.as_deref() {
            None | Some("all") => Endpoint::ALL.to_vec(),
            Some(name) => vec![serde_json::from_value(json!(name)).map_err(|e| e.to_string())?],
        };
        if order.fault == Fault::Down {
            if order.times.is_some() || order.every.is_some() || endpoints.len() == 1 {
                return Err("\"down\" is for all endpoints, until cleared".to_owned());
            }
            self.down = true;
            return Ok(());
        }
        if order.times == Some(0) || order.every == Some(0) {
            return Err("\"times\" and \"every\" must be at least 1".to_owned());
        }
        for endpoint in endpoints {
            let standing = Standing {
                fault: order.fault.clone(),
                times: order.times,
                every: order.every.unwrap_or(1),
                spared: 0,
            };
            self.standing.insert(endpoint, standing);
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        *self = Faults::default();
    }

    pub(super) fn json(&self) -> Value {
        let standing: Vec<Value> = self
            .standing
            .iter()
            .map(|(endpoint, standing)| {
                json!({
                    "endpoint": endpoint,
                    "fault": standing.fault,
                    "times": standing.times,
                    "every": standing.every,
                })
            })
            .collect();
        json!({ "down": self.down, "faults": standing })
    }

    /// What a request to `endpoint` meets. A connection that was made before the emulator went
    /// down is met by [`Fault::Down`] too.
    pub(super) fn strike(&mut self, endpoint: Endpoint) -> Option<Fault> {
        if self.down {
            return Some(Fault::Down);
        }
        let standing = self.standing.get_mut(&endpoint)?;
        standing.spared += 1;
        if standing.spared < standing.every {
            return None;
        }
        standing.spared = 0;
        let fault = standing.fault.clone();
        if let Some(left) = &mut standing.times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.standing.remove(&endpoint);
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(fault: &str, endpoint: Option<&str>, times: Option<u64>) -> FaultOrder {
        FaultOrder {
            fault: fault.parse().unwrap(),
            endpoint: endpoint.map(str::to_owned),
            times,
            every: None,
        }
    }

    #[test]
    fn faults_strike_where_and_as_often_as_told() {
        let mut faults = Faults::default();
        faults.set(&order("slow=5", Some("keys"), Some(2))).unwrap();
        assert_eq!(faults.strike(Endpoint::Metadata), None);
        assert_eq!(faults.strike(Endpoint::Keys), Some(Fault::Slow(5)));
        assert_eq!(faults.strike(Endpoint::Keys), Some(Fault::Slow(5)));
        assert_eq!(faults.strike(Endpoint::Keys), None);
        faults.set(&order("error", None, None)).unwrap();
        for _ in 0..3 {
            assert_eq!(faults.strike(Endpoint::Imds), Some(Fault::Error));
        }
        faults.clear();
        assert_eq!(faults.strike(Endpoint::Imds), None);
    }

    #[test]
    fn faults_spare_requests_in_between() {
        let mut faults = Faults::default();
        let mut third = order("throttled=1", Some("graph"), Some(2));
        third.every = Some(3);
        faults.set(&third).unwrap();
        let struck: Vec<bool> = (0..9)
            .map(|_| faults.strike(Endpoint::Graph).is_some())
            .collect();
        let expected = [false, false, true, false, false, true, false, false, false];
        assert_eq!(struck, expected);
        third.every = Some(0);
        assert!(faults.set(&third).is_err());
    }

    #[test]
    fn names_and_values_are_checked() {
        assert_eq!(
            "redirect=https://a/?b=c".parse(),
            Ok(Fault::Redirect("https://a/?b=c".into()))
        );
        for text in ["slow", "slow=x", "error=1", "sluggish", ""] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
        assert!(
            Faults::default()
                .set(&order("error", Some("nowhere"), None))
                .is_err()
        );
        assert!(
            Faults::default()
                .set(&order("down", Some("keys"), None))
                .is_err()
        );
    }
}
