//! A proxy of one's own.

use std::net::{Ipv4Addr, TcpListener};

use entra_api::{ErrorKind, HttpSettings, check_proxy};
use entra_client::{Directory, Http, HttpError};

use crate::emulator::soon;
use crate::rig::{SENTINEL, directory, graph, http, settings};
use crate::server::{Proxy, Reply, Server};

#[test]
fn a_proxy_is_a_host_and_a_port() {
    for good in [
        "http://proxy:3128",
        "http://proxy.example.com:80",
        "http://10.0.0.1:8080",
        "http://[::1]:3128",
    ] {
        assert_eq!(check_proxy(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "proxy:3128",
        "https://proxy:3128",
        "socks5://proxy:1080",
        "http://proxy",
        "http://[::1]",
        "http://proxy:3128/",
        "http://proxy:3128/path",
        "http://proxy:0",
        "http://proxy:70000",
        "http://PROXY:3128",
        "http://pro xy:3128",
        "http://:3128",
    ] {
        assert!(check_proxy(bad).unwrap_err().contains("host:port"), "{bad}");
    }
    for bad in ["http://user@proxy:3128", "http://user:s3nt1nel@proxy:3128"] {
        let problem = check_proxy(bad).unwrap_err();
        assert!(problem.contains("password"), "{bad}: {problem}");
        assert!(!problem.contains(SENTINEL));
        let settings = HttpSettings {
            ca_file: None,
            proxy: Some(bad.to_owned()),
        };
        let refused = Http::new(&settings).map(drop).unwrap_err();
        assert!(matches!(&refused, HttpError::Proxy(_)), "{refused:?}");
        assert!(!refused.to_string().contains(SENTINEL), "{refused}");
    }
}

#[test]
fn everything_goes_through_the_proxy() {
    let server = graph(|_| Reply::json(r#"{"value":[]}"#));
    let proxy = Proxy::start(200);
    let mut settings = settings(&server);
    settings.http.proxy = Some(proxy.url());
    let directory = Directory::new(settings).unwrap();
    directory.probe(soon()).unwrap();
    let tunnels = proxy.tunnels();
    assert_eq!(tunnels.len(), server.connections());
    // One for the token, three for the lists.
    assert_eq!(tunnels.len(), 4);
    for tunnel in tunnels {
        let place = format!("localhost:{}", server.address.port());
        assert_eq!((tunnel.method.as_str(), &tunnel.path), ("CONNECT", &place));
        // The proxy learns the host and nothing more.
        assert!(!format!("{tunnel:?}").contains(SENTINEL));
        for name in tunnel.headers.keys() {
            assert!(
                ["host", "user-agent"].contains(&name.as_str()),
                "{tunnel:?}"
            );
        }
    }
}

#[test]
fn the_certificate_is_checked_behind_the_proxy() {
    let server = Server::start(|_| Reply::json("{}"));
    let other = Server::start(|_| Reply::json("{}"));
    let settings = HttpSettings {
        proxy: Some(Proxy::start(200).url()),
        ..http(&other)
    };
    let refused = Http::new(&settings).unwrap().get(&server.url(), soon());
    let problem = refused.unwrap_err().to_string();
    assert!(problem.contains("certificate"), "{problem}");
    assert!(server.asked().is_empty());
}

#[test]
fn a_proxy_that_refuses_is_an_error_and_no_detour() {
    let server = Server::start(|_| Reply::json("{}"));
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let gone = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    for proxy in [Proxy::start(407).url(), Proxy::start(503).url(), gone] {
        let settings = HttpSettings {
            proxy: Some(proxy),
            ..http(&server)
        };
        let refused = Http::new(&settings).unwrap().get(&server.url(), soon());
        assert!(
            matches!(refused, Err(HttpError::Transport(_))),
            "{refused:?}"
        );
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let server = Server::start(|_| Reply::json("{}"));
    let mut bad = settings(&server);
    bad.http.proxy = Some("proxy".to_owned());
    let refused = Directory::new(bad).map(drop).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unreachable);
    assert!(refused.message.contains("aadauth.https_proxy"), "{refused}");
    let mut bad = settings(&server);
    bad.graph += "/v1.0";
    let refused = Directory::new(bad).map(drop).unwrap_err();
    assert!(
        refused.message.contains("aadauth.graph_endpoint"),
        "{refused}"
    );
    drop(directory(&server));
    assert_eq!(server.connections(), 0);
}
