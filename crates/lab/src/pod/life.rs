//! What is known of a pod's life, and what Kubernetes' status says of it. Decides nothing about when.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus,
};

/// Kubernetes' `restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whenever it ends.
    Always,
    /// When it ends with another status than 0.
    OnFailure,
    /// Never.
    Never,
}

impl RestartPolicy {
    /// A pod's.
    pub fn of(pod: &Pod) -> Self {
        match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// Whether a container that ended so is started again.
    pub fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// Something that happened to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It cannot go on for this reason, and is tried again.
    Stuck(String),
    /// It has its addresses.
    Wired(Vec<IpAddr>),
    /// The container with this index runs; the flag says whether it counts as ready at once.
    Started(usize, bool),
    /// It ended with this status.
    Ended(usize, i32),
    /// It cannot be run, for this reason.
    Impossible(usize, String),
    /// Its readiness changed; the text says why it is not ready.
    Ready(usize, Result<(), String>),
    /// The pod is on its way out.
    Terminating,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Waiting(String),
    Running,
    Ended(i32),
}

#[derive(Debug, Clone)]
struct ContainerLife {
    name: String,
    image: String,
    state: State,
    readiness: Result<(), String>,
    starts: u32,
}

/// What is known of a pod's life.
#[derive(Debug, Clone)]
pub struct Life {
    policy: RestartPolicy,
    containers: Vec<ContainerLife>,
    ips: Vec<IpAddr>,
    stuck: String,
    terminating: bool,
}

impl Life {
    /// A pod that was placed on a node, of which nothing has happened yet.
    pub fn new(pod: &Pod) -> Self {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let container = |c: &k8s_openapi::api::core::v1::Container| ContainerLife {
            name: c.name.clone(),
            image: c.image.clone().unwrap_or_default(),
            state: State::Waiting("ContainerCreating".into()),
            readiness: Err("not probed yet".into()),
            starts: 0,
        };
        Self {
            policy: RestartPolicy::of(pod),
            containers: containers.map(container).collect(),
            ips: Vec::new(),
            stuck: String::new(),
            terminating: false,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Stuck(why) => self.stuck = why,
            Event::Wired(ips) => {
                self.ips = ips;
                self.stuck.clear();
            }
            Event::Started(index, ready) => {
                let container = &mut self.containers[index];
                container.state = State::Running;
                container.starts += 1;
                container.readiness = if ready { Ok(()) } else { Err("not probed yet".into()) };
            }
            Event::Ended(index, code) => self.containers[index].state = State::Ended(code),
            Event::Impossible(index, why) => self.containers[index].state = State::Waiting(why),
            Event::Ready(index, readiness) => self.containers[index].readiness = readiness,
            Event::Terminating => self.terminating = true,
        }
    }

    /// Its addresses.
    pub fn ips(&self) -> &[IpAddr] {
        &self.ips
    }

    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub fn phase(&self) -> &'static str {
        let over = |c: &ContainerLife| matches!(c.state, State::Ended(code) if !self.policy.restarts(code));
        if !self.containers.is_empty() && self.containers.iter().all(over) {
            let good = self.containers.iter().all(|c| c.state == State::Ended(0));
            if good { "Succeeded" } else { "Failed" }
        } else if !self.containers.is_empty() && self.containers.iter().all(|c| c.starts > 0) {
            "Running"
        } else {
            "Pending"
        }
    }

    /// Whether every container is ready. A pod on its way out stays what it was.
    pub fn ready(&self) -> bool {
        !self.containers.is_empty() && self.containers.iter().all(ContainerLife::ready)
    }

    /// Times its containers were started again.
    pub fn restarts(&self) -> u32 {
        self.containers.iter().map(ContainerLife::restarts).sum()
    }

    /// Why it is not running or not ready; empty when it is.
    pub fn message(&self) -> String {
        if self.terminating {
            return "terminating".into();
        }
        if !self.stuck.is_empty() {
            return self.stuck.clone();
        }
        let unready = self.containers.iter().find(|container| !container.ready());
        unready.map(ContainerLife::why).unwrap_or_default()
    }

    /// The status as Kubernetes writes it.
    pub fn status(&self, host_ips: &[IpAddr]) -> PodStatus {
        let ready = self.ready();
        let condition = |type_: &str, status: bool, message: Option<String>| PodCondition {
            type_: type_.into(),
            status: if status { "True" } else { "False" }.into(),
            reason: (!status).then(|| "ContainersNotReady".into()),
            message,
            ..PodCondition::default()
        };
        let why = Some(self.message()).filter(|why| !why.is_empty());
        PodStatus {
            phase: Some(self.phase().into()),
            conditions: Some(vec![
                condition("PodScheduled", true, None),
                condition("Initialized", true, None),
                condition("ContainersReady", ready, why.clone()),
                condition("Ready", ready, why.clone()),
            ]),
            container_statuses: Some(self.containers.iter().map(ContainerLife::status).collect()),
            host_ip: host_ips.first().map(ToString::to_string),
            host_ips: Some(host_ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()),
            pod_ip: self.ips.first().map(ToString::to_string),
            pod_ips: Some(self.ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect()),
            message: why,
            ..PodStatus::default()
        }
    }
}

impl ContainerLife {
    fn ready(&self) -> bool {
        self.state == State::Running && self.readiness.is_ok()
    }

    fn restarts(&self) -> u32 {
        self.starts.saturating_sub(1)
    }

    fn why(&self) -> String {
        match (&self.state, &self.readiness) {
            (State::Waiting(why), _) => why.clone(),
            (State::Ended(code), _) => format!("container {} ended with status {code}", self.name),
            (State::Running, Err(why)) => format!("container {}: {why}", self.name),
            (State::Running, Ok(())) => String::new(),
        }
    }

    fn status(&self) -> ContainerStatus {
        let mut state = ContainerState::default();
        match &self.state {
            State::Waiting(why) => {
                let reason = Some("ContainerCreating".into());
                state.waiting = Some(ContainerStateWaiting { reason, message: Some(why.clone()) });
            }
            State::Running => state.running = Some(ContainerStateRunning::default()),
            State::Ended(code) => {
                let ended = ContainerStateTerminated { exit_code: *code, ..Default::default() };
                state.terminated = Some(ended);
            }
        }
        ContainerStatus {
            name: self.name.clone(),
            image: self.image.clone(),
            ready: self.ready(),
            started: Some(self.state == State::Running),
            restart_count: i32::try_from(self.restarts()).unwrap_or(i32::MAX),
            state: Some(state),
            ..ContainerStatus::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(policy: &str, containers: usize) -> Life {
        let containers: Vec<_> =
            (0..containers).map(|n| serde_json::json!({"name": format!("c{n}")})).collect();
        let pod =
            serde_json::json!({"metadata": {}, "spec": {"restartPolicy": policy, "containers": containers}});
        Life::new(&serde_json::from_value(pod).unwrap())
    }

    fn check(policy: &str, containers: usize, events: &[Event], phase: &str, ready: bool, restarts: u32) {
        let mut life = life(policy, containers);
        for event in events {
            life.handle(event.clone());
        }
        assert_eq!((life.phase(), life.ready(), life.restarts()), (phase, ready, restarts), "{events:?}");
    }

    #[test]
    fn lives() {
        use Event::{Ended, Impossible, Ready, Started, Stuck};
        check("Always", 1, &[], "Pending", false, 0);
        check("Always", 1, &[Stuck("no agent".into())], "Pending", false, 0);
        check("Always", 1, &[Started(0, true)], "Running", true, 0);
        check("Always", 1, &[Started(0, false)], "Running", false, 0);
        check("Always", 1, &[Started(0, false), Ready(0, Ok(()))], "Running", true, 0);
        check("Always", 1, &[Started(0, true), Ready(0, Err("x".into()))], "Running", false, 0);
        check("Always", 1, &[Started(0, true), Ended(0, 0)], "Running", false, 0);
        check("Always", 1, &[Started(0, true), Ended(0, 1), Started(0, true)], "Running", true, 1);
        check("Never", 1, &[Started(0, true), Ended(0, 0)], "Succeeded", false, 0);
        check("Never", 1, &[Started(0, true), Ended(0, 2)], "Failed", false, 0);
        check("OnFailure", 1, &[Started(0, true), Ended(0, 2)], "Running", false, 0);
        check("OnFailure", 1, &[Started(0, true), Ended(0, 0)], "Succeeded", false, 0);
        check("Always", 1, &[Impossible(0, "no such program".into())], "Pending", false, 0);
        check("Always", 2, &[Started(0, true)], "Pending", false, 0);
        check("Always", 2, &[Started(0, true), Started(1, true)], "Running", true, 0);
        check("Never", 2, &[Started(0, true), Started(1, true), Ended(0, 0)], "Running", false, 0);
    }

    #[test]
    fn says_why() {
        let mut life = life("Always", 1);
        assert_eq!(life.message(), "ContainerCreating");
        life.handle(Event::Stuck("no agent".into()));
        assert_eq!(life.message(), "no agent");
        life.handle(Event::Wired(vec!["10.1.0.5".parse().unwrap()]));
        life.handle(Event::Started(0, false));
        assert_eq!(life.message(), "container c0: not probed yet");
        let status = life.status(&["172.16.1.1".parse().unwrap()]);
        assert_eq!(status.pod_ip.as_deref(), Some("10.1.0.5"));
        assert_eq!(status.host_ip.as_deref(), Some("172.16.1.1"));
        life.handle(Event::Ready(0, Ok(())));
        assert_eq!(life.message(), "");
        let ready = life.status(&[]).conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!(ready.status, "True");
        life.handle(Event::Terminating);
        assert!(life.ready() && life.message() == "terminating");
    }
}
