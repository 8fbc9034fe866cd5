//! The ports at which load balancers outside ask this node about services with `externalTrafficPolicy: Local`: opened and
//! closed as services come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use engine::services::HealthCheck;
use model::Port;
use serve::health_check::{Answer, serve};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

/// Where the ports are opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// At every address of the machine.
    Everywhere,
    /// At these.
    At(BTreeSet<IpAddr>),
}

/// The open ports. Those that listen end with it.
#[derive(Default)]
pub(crate) struct HealthChecks {
    open: BTreeMap<Port, Open>,
}

/// One port.
struct Open {
    listen: Listen,
    answer: watch::Sender<Answer>,
    listeners: JoinSet<()>,
}

impl HealthChecks {
    /// Brings the ports to these services. What cannot be had is said, and tried again when this is called again.
    pub(crate) async fn follow(
        &mut self,
        checks: &[HealthCheck],
        listen: &Listen,
        healthy: bool,
    ) -> Option<String> {
        let wanted: BTreeSet<Port> = checks.iter().map(|check| check.port).collect();
        let keeps = |port: &Port, open: &Open| wanted.contains(port) && open.listen == *listen;
        let closed: Vec<Port> =
            self.open.iter().filter(|(port, open)| !keeps(port, open)).map(|(port, _)| *port).collect();
        for port in closed {
            if let Some(mut open) = self.open.remove(&port) {
                // The port is free when this returns: somebody may want it at another address.
                open.listeners.shutdown().await;
            }
        }
        let mut refused = Vec::new();
        for check in checks {
            let HealthCheck { service, port, local_endpoints } = check;
            let answer = Answer { service: service.name.clone(), local_endpoints: *local_endpoints, healthy };
            if let Some(open) = self.open.get(port) {
                open.answer.send_if_modified(|known| std::mem::replace(known, answer.clone()) != answer);
                continue;
            }
            match Open::new(*port, listen, answer).await {
                Ok(open) => {
                    info!(service = %service.name, %port, "load balancers may ask here about the service's endpoints");
                    self.open.insert(*port, open);
                }
                Err(why) => refused.push(format!("the health check of service {}: {why}", service.name)),
            }
        }
        (!refused.is_empty()).then(|| refused.join("; "))
    }
}

impl Open {
    /// All of its addresses, or none.
    async fn new(port: Port, listen: &Listen, answer: Answer) -> Result<Self, String> {
        let (answer, answered) = watch::channel(answer);
        let mut bound = Vec::new();
        let everywhere = [IpAddr::from(Ipv6Addr::UNSPECIFIED)].into();
        let addresses = match listen {
            Listen::Everywhere => &everywhere,
            Listen::At(addresses) => addresses,
        };
        for ip in addresses {
            match serve(SocketAddr::new(*ip, port.get()), answered.clone()).await {
                Ok(listener) => bound.push(listener),
                // An address by which the world knows the machine, and the machine itself does not.
                Err(e) if e.is_elsewhere() => {}
                Err(e) => return Err(e.to_string()),
            }
        }
        if bound.is_empty() {
            return Err(format!(
                "nothing listens on port {port}: none of the node's addresses that services.nodePortAddresses leaves is \
                 this machine's; change it"
            ));
        }
        Ok(Self { listen: listen.clone(), answer, listeners: bound.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use model::{ObjectName, ServiceKey};

    use super::*;

    fn check(name: &str, port: u16, local_endpoints: usize) -> HealthCheck {
        let name = ObjectName::new("demo", name).unwrap();
        let service = ServiceKey { cluster: "aws".parse().unwrap(), name };
        HealthCheck { service, port: Port::new(port).unwrap(), local_endpoints }
    }

    /// What a balancer is answered, in small letters; nothing where nobody listens.
    async fn ask(address: &'static str, port: u16) -> Option<String> {
        let ask = move || {
            let mut stream = TcpStream::connect((address, port)).ok()?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            Some(answer)
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    fn local() -> Listen {
        Listen::At(["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()].into())
    }

    fn free_port() -> u16 {
        ports::free().port()
    }

    #[tokio::test]
    async fn as_kube_proxy_answers() {
        let (mut checks, port) = (HealthChecks::default(), free_port());
        for (endpoints, healthy, status) in
            [(2, true, "200 OK"), (0, true, "503 Service Unavailable"), (2, false, "503 Service Unavailable")]
        {
            assert_eq!(checks.follow(&[check("echo", port, endpoints)], &local(), healthy).await, None);
            let answer = ask("127.0.0.1", port).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let head = head.to_ascii_lowercase();
            assert!(head.starts_with(&format!("http/1.1 {}", status.to_ascii_lowercase())), "{head}");
            for line in [
                "content-type: application/json".to_string(),
                "x-content-type-options: nosniff".into(),
                format!("x-load-balancing-endpoint-weight: {endpoints}"),
            ] {
                assert!(head.lines().any(|is| is == line), "{line} is missing in {head}");
            }
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            let service = serde_json::json!({"namespace": "demo", "name": "echo"});
            let want = serde_json::json!({
                "service": service, "localEndpoints": endpoints, "serviceProxyHealthy": healthy,
            });
            assert_eq!(body, want);
        }
    }

    #[tokio::test]
    async fn ports_come_and_go() {
        let (mut checks, first, second) = (HealthChecks::default(), free_port(), free_port());
        let both = [check("echo", first, 1), check("web", second, 1)];
        assert_eq!(checks.follow(&both, &local(), true).await, None);
        assert!(ask("127.0.0.2", second).await.unwrap().contains("\"web\""));
        // Another service has the port now; the other port is closed.
        assert_eq!(checks.follow(&[check("other", first, 1)], &local(), true).await, None);
        assert!(ask("127.0.0.1", first).await.unwrap().contains("\"other\""));
        assert_eq!(ask("127.0.0.1", second).await, None);
        // At fewer addresses.
        let one = Listen::At(["127.0.0.2".parse().unwrap()].into());
        assert_eq!(checks.follow(&[check("other", first, 1)], &one, true).await, None);
        assert_eq!(ask("127.0.0.1", first).await, None);
        assert!(ask("127.0.0.2", first).await.is_some());
        // At all of them.
        assert_eq!(checks.follow(&[check("other", first, 1)], &Listen::Everywhere, true).await, None);
        assert!(ask("127.0.0.1", first).await.is_some());
        assert_eq!(checks.follow(&[], &local(), true).await, None);
        assert_eq!(ask("127.0.0.1", first).await, None);
    }

    #[tokio::test]
    async fn a_port_in_use_is_said_and_tried_again() {
        let holder = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let (mut checks, wanted) = (HealthChecks::default(), [check("echo", port, 1)]);
        let said = checks.follow(&wanted, &local(), true).await.unwrap();
        assert!(said.contains("service demo/echo") && said.contains("the port is free"), "{said}");
        drop(holder);
        assert_eq!(checks.follow(&wanted, &local(), true).await, None);
        assert!(ask("127.0.0.2", port).await.is_some());
    }

    #[tokio::test]
    async fn addresses_that_the_machine_does_not_have() {
        let (mut checks, wanted) = (HealthChecks::default(), [check("echo", free_port(), 1)]);
        let at = |ips: &[&str]| Listen::At(ips.iter().map(|ip| ip.parse().unwrap()).collect());
        assert_eq!(checks.follow(&wanted, &at(&["127.0.0.1", "192.0.2.1"]), true).await, None);
        let said = checks.follow(&wanted, &at(&["192.0.2.1"]), true).await.unwrap();
        assert!(said.contains("services.nodePortAddresses"), "{said}");
    }
}
