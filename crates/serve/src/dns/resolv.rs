//! Whom a machine asks: `resolv.conf` (resolv.conf(5)).

use std::net::{IpAddr, SocketAddr};

/// As many servers as resolvers look at.
const MOST: usize = 3;

/// The servers that a `resolv.conf` names. What is no address (one with a zone, say) is passed over.
pub fn nameservers(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        words.next()?.parse::<IpAddr>().ok()
    };
    text.lines().filter_map(server).take(MOST).map(|ip| SocketAddr::new(ip, 53)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn as_others_write_it() {
        let text = "# nameserver 192.0.2.9\nsearch a.b\nnameserver 192.0.2.1 # first\n nameserver\t2001:db8::1\n\
                    nameserver fe80::1%eth0\nnameserver\noptions ndots:5\nnameserver 127.0.0.53\nnameserver 192.0.2.4\n";
        let found: Vec<String> = super::nameservers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53", "127.0.0.53:53"]);
    }
}
