//! What a probe asks and how often: Kubernetes' fields with Kubernetes' defaults.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::file::parse_duration;

/// The pod annotation that probes more often than Kubernetes' shortest period, one second.
pub const PERIOD_ANNOTATION: &str = "lab.causeway.io/probe-period";

/// A readiness probe, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// What is asked.
    pub check: Check,
    /// From the container's start to the first question.
    pub initial_delay: Duration,
    /// From one question to the next.
    pub period: Duration,
    /// No answer in this time is a failure.
    pub timeout: Duration,
    /// Good answers in a row that make it ready.
    pub success_threshold: u32,
    /// Bad answers in a row that make it unready.
    pub failure_threshold: u32,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// `GET` answers 200 to 399.
    Http {
        /// Another host than the pod's address.
        host: Option<String>,
        /// The port.
        port: u16,
        /// The path.
        path: String,
        /// More headers.
        headers: Vec<(String, String)>,
    },
    /// A connection opens.
    Tcp {
        /// Another host than the pod's address.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// A command exits with status 0.
    Exec {
        /// The command with its arguments.
        command: Vec<String>,
    },
}

/// A probe that cannot be run; the pod's writer is to change it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// None of the three.
    #[error("the readinessProbe of container {0} has no httpGet, tcpSocket or exec: give it one of them")]
    Nothing(String),
    /// A port that is neither a number nor the name of one.
    #[error(
        "the readinessProbe of container {container} asks port {port:?}, which is no number from 1 to 65535 and no name in the container's ports"
    )]
    Port {
        /// The container.
        container: String,
        /// What was written.
        port: String,
    },
    /// HTTPS.
    #[error(
        "the readinessProbe of container {0} asks by HTTPS: the lab probes HTTP, use tcpSocket or exec instead"
    )]
    Https(String),
    /// The annotation is no duration.
    #[error(
        "annotation {PERIOD_ANNOTATION}: {value:?} is no duration from 10ms to 10s: write it as 100ms or 2s"
    )]
    Period {
        /// What was written.
        value: String,
    },
}

/// The readiness probe of a pod's container, if it has one.
pub fn readiness(pod: &Pod, container: &Container) -> Result<Option<Spec>, SpecError> {
    let Some(probe) = &container.readiness_probe else { return Ok(None) };
    let seconds = |value: Option<i32>, default: u32, min: u32| {
        let value = value.and_then(|v| u32::try_from(v).ok()).unwrap_or(default);
        Duration::from_secs(value.max(min).into())
    };
    let count = |value: Option<i32>, default: u32| {
        value.and_then(|v| u32::try_from(v).ok()).unwrap_or(default).max(1)
    };
    Ok(Some(Spec {
        check: check(container, probe)?,
        initial_delay: seconds(probe.initial_delay_seconds, 0, 0),
        period: annotated_period(pod)?.unwrap_or_else(|| seconds(probe.period_seconds, 10, 1)),
        timeout: seconds(probe.timeout_seconds, 1, 1),
        success_threshold: count(probe.success_threshold, 1),
        failure_threshold: count(probe.failure_threshold, 3),
    }))
}

fn annotated_period(pod: &Pod) -> Result<Option<Duration>, SpecError> {
    let Some(value) = pod.metadata.annotations.as_ref().and_then(|all| all.get(PERIOD_ANNOTATION)) else {
        return Ok(None);
    };
    let wanted = Duration::from_millis(10)..=Duration::from_secs(10);
    match parse_duration(value) {
        Some(period) if wanted.contains(&period) => Ok(Some(period)),
        _ => Err(SpecError::Period { value: value.clone() }),
    }
}

fn check(container: &Container, probe: &Probe) -> Result<Check, SpecError> {
    if let Some(http) = &probe.http_get {
        if http.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) {
            return Err(SpecError::Https(container.name.clone()));
        }
        let headers = http.http_headers.iter().flatten();
        Ok(Check::Http {
            host: http.host.clone().filter(|host| !host.is_empty()),
            port: port(container, &http.port)?,
            path: http.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into()),
            headers: headers.map(|header| (header.name.clone(), header.value.clone())).collect(),
        })
    } else if let Some(tcp) = &probe.tcp_socket {
        let host = tcp.host.clone().filter(|host| !host.is_empty());
        Ok(Check::Tcp { host, port: port(container, &tcp.port)? })
    } else if let Some(command) = probe.exec.as_ref().and_then(|exec| exec.command.clone()) {
        Ok(Check::Exec { command })
    } else {
        Err(SpecError::Nothing(container.name.clone()))
    }
}

fn port(container: &Container, port: &IntOrString) -> Result<u16, SpecError> {
    let (number, said) = match port {
        IntOrString::Int(number) => (Some(*number), number.to_string()),
        IntOrString::String(text) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(text));
            (named.map(|port| port.container_port).or_else(|| text.parse().ok()), text.clone())
        }
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number != 0)
        .ok_or_else(|| SpecError::Port { container: container.name.clone(), port: said })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(annotation: &str, probe: &str) -> Result<Option<Spec>, SpecError> {
        let text = format!(
            "{{\"metadata\": {{\"annotations\": {{{annotation}}}}}, \"spec\": {{\"containers\": [{{\"name\": \"c\",
              \"ports\": [{{\"name\": \"web\", \"containerPort\": 8080}}]{probe}}}]}}}}"
        );
        let pod: Pod = serde_json::from_str(&text).unwrap();
        readiness(&pod, &pod.spec.as_ref().unwrap().containers[0])
    }

    #[test]
    fn defaults_are_kubernetes() {
        assert_eq!(spec("", ""), Ok(None));
        let got = spec("", r#", "readinessProbe": {"httpGet": {"port": "web"}}"#).unwrap().unwrap();
        let check = Check::Http { host: None, port: 8080, path: "/".into(), headers: vec![] };
        assert_eq!(got.check, check);
        assert_eq!((got.initial_delay, got.period, got.timeout), {
            let s = Duration::from_secs;
            (s(0), s(10), s(1))
        });
        assert_eq!((got.success_threshold, got.failure_threshold), (1, 3));
    }

    #[test]
    fn fields() {
        let got = spec(
            r#""lab.causeway.io/probe-period": "100ms""#,
            r#", "readinessProbe": {"tcpSocket": {"port": 53}, "initialDelaySeconds": 2, "periodSeconds": 5,
                "timeoutSeconds": 3, "successThreshold": 2, "failureThreshold": 1}"#,
        );
        let ms = Duration::from_millis;
        let want = Spec {
            check: Check::Tcp { host: None, port: 53 },
            initial_delay: ms(2000),
            period: ms(100),
            timeout: ms(3000),
            success_threshold: 2,
            failure_threshold: 1,
        };
        assert_eq!(got, Ok(Some(want)));
    }

    #[test]
    fn refused() {
        for (annotation, probe, said) in [
            ("", r#"{"httpGet": {"port": "nope"}}"#, "nope"),
            ("", r#"{"httpGet": {"port": 70000}}"#, "70000"),
            ("", r#"{"tcpSocket": {"port": 0}}"#, "\"0\""),
            ("", r#"{"httpGet": {"port": 1, "scheme": "HTTPS"}}"#, "HTTPS"),
            ("", "{}", "httpGet, tcpSocket or exec"),
            (r#""lab.causeway.io/probe-period": "1ns""#, r#"{"tcpSocket": {"port": 1}}"#, "10ms"),
            (r#""lab.causeway.io/probe-period": "soon""#, r#"{"tcpSocket": {"port": 1}}"#, "soon"),
        ] {
            let error = spec(annotation, &format!(", \"readinessProbe\": {probe}")).unwrap_err().to_string();
            assert!(error.contains(said), "{probe}: {error}");
        }
    }
}
