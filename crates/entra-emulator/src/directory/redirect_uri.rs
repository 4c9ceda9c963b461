//! Where an application has users sent back to when they have signed in.

use reqwest::Url;

const LOOPBACK: [&str; 2] = ["localhost", "127.0.0.1"];

/// A registered address. Microsoft: "Redirect URI (reply URL) restrictions and limitations".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri(Url);

impl RedirectUri {
    /// # Errors
    /// What may not be registered.
    pub fn parse(text: &str) -> Result<RedirectUri, String> {
        let url = Url::parse(text).map_err(|error| format!("\"{text}\" is no URI: {error}"))?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => {
                return Err(format!(
                    "\"{text}\" is neither https nor http on localhost or 127.0.0.1"
                ));
            }
        }
        if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(format!("\"{text}\" has a fragment or a user name"));
        }
        Ok(RedirectUri(url))
    }

    /// Whether a client that names `asked` means this one. The port is ignored on loopback, where programs listen on
    /// whichever is free (RFC 8252 section 7.3).
    pub fn is(&self, asked: &Url) -> bool {
        without_loopback_port(&self.0) == without_loopback_port(asked)
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| LOOPBACK.contains(&host))
}

fn without_loopback_port(url: &Url) -> Url {
    let mut url = url.clone();
    if is_loopback(&url) {
        // It fails for schemes without ports only, and then there is none.
        let _ = url.set_port(None);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_ignored_on_loopback_only() {
        let same = |own: &str, asked: &str| {
            RedirectUri::parse(own)
                .unwrap()
                .is(&Url::parse(asked).unwrap())
        };
        for (own, asked) in [
            ("http://localhost", "http://localhost:8400"),
            ("http://localhost:5000/app", "http://localhost/app"),
            ("http://127.0.0.1/app", "http://127.0.0.1:1/app"),
            ("https://contoso.com/app?x=1", "https://contoso.com/app?x=1"),
        ] {
            assert!(same(own, asked), "{own} {asked}");
        }
        for (own, asked) in [
            ("http://localhost", "http://127.0.0.1"),
            ("http://localhost", "https://localhost"),
            ("http://localhost", "http://localhost/app"),
            ("http://localhost/app", "http://localhost/APP"),
            ("http://localhost/app", "http://localhost/app?x=1"),
            ("http://localhost/app", "http://localhost/app#x"),
            ("http://localhost", "http://localhost.evil.example"),
            ("http://localhost", "http://localhost@evil.example"),
            ("http://localhost", "http://evil@localhost"),
            ("https://contoso.com", "https://contoso.com:8443"),
        ] {
            assert!(!same(own, asked), "{own} {asked}");
        }
    }

    #[test]
    fn what_browsers_must_not_be_sent_to_is_not_registered() {
        for text in [
            "http://contoso.com/app",
            "javascript:alert(1)",
            "localhost",
            "https://contoso.com/#x",
            "https://alice@contoso.com/",
        ] {
            assert!(RedirectUri::parse(text).is_err(), "{text}");
        }
    }
}
