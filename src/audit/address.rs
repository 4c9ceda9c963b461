//! The addresses of clients, as events have them.

use std::net::{IpAddr, Ipv6Addr};

/// How the text of a network ends.
const PREFIX: &str = "/64";

/// The network that counts in place of an IPv6 address: one client has all addresses of a /64. `None` for any other
/// address, among them those that stand for one of IPv4 (RFC 4291 section 2.5.5.2, RFC 6052 section 2.1), and those of
/// neighbors on one link (RFC 4291 section 2.5.6).
pub fn network_of(address: &str) -> Option<String> {
    const TRANSLATED: u128 = 0x0064_ff9b << 96;
    let address: Ipv6Addr = address.parse().ok()?;
    let is_translated = address.to_bits() & !u128::from(u32::MAX) == TRANSLATED;
    if address.to_ipv4_mapped().is_some() || is_translated || address.is_unicast_link_local() {
        return None;
    }
    let network = Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
    Some(format!("{network}{PREFIX}"))
}

/// Whether the text is an address, or a network of [`network_of`].
pub fn is_valid(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || text
            .strip_suffix(PREFIX)
            .is_some_and(|network| network.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_counts_as_its_network() {
        for (address, network) in [
            ("2001:db8::1", "2001:db8::/64"),
            ("2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
            ("2001:db8:0:ffff::", "2001:db8:0:ffff::/64"),
            ("::1", "::/64"),
        ] {
            assert_eq!(network_of(address).as_deref(), Some(network));
            assert!(is_valid(address) && is_valid(network), "{network}");
        }
    }

    #[test]
    fn other_addresses_count_as_they_are() {
        for address in [
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "64:ff9b::192.0.2.1",
            "fe80::1",
            "[local]",
            "fe80::1%eth0",
            "",
        ] {
            assert_eq!(network_of(address), None, "{address}");
        }
    }

    #[test]
    fn what_is_no_inet_is_not_valid() {
        for text in [
            "[local]",
            "fe80::1%eth0",
            "192.0.2.1/64",
            "::/65",
            "/64",
            "::/+64",
            "",
        ] {
            assert!(!is_valid(text), "{text}");
        }
        assert!(is_valid("192.0.2.1") && is_valid("::ffff:192.0.2.1"));
    }
}
