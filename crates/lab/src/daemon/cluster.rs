//! One cluster of a running lab: its objects, its controller, its nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use cluster::index::{Endpoints, Index};
use cluster::manifest::{self, Kind, Manifest};
use cluster::standalone::Store;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Pod;
use kernel::wireguard::PrivateKey;
use model::{Change, ClusterName, EndpointKey, Key, NodeName, Object, ObjectName, ServiceKey};
use tokio::sync::Notify;
use wire::local::Token;

use crate::file::PresharedKeys;
use crate::node::controller::ControllerHost;
use crate::node::machine::{Segment, Site};
use crate::node::outside::OutsideHost;
use crate::node::{GENERATIONS, Node, Objects};
use crate::plan::{ClusterPlan, Host, NodePlan, Plan};
use crate::state::{self, Folders};
use crate::status::Expected;

/// Where a controller listens for agents and other controllers.
const CONTROLLER_PORT: u16 = 9640;

/// A cluster.
#[derive(Debug)]
pub(super) struct ClusterHost {
    pub(super) plan: ClusterPlan,
    pub(super) objects: Objects,
    pub(super) controller: ControllerHost,
    pub(super) nodes: Vec<Node>,
    pub(super) hosts: Vec<OutsideHost>,
    /// What could not be placed, as last told.
    pub(super) problems: Mutex<Vec<String>>,
}

impl ClusterHost {
    /// Opens its folder of objects; nothing runs yet.
    pub(super) fn new(
        plan: &Plan,
        cluster: &ClusterPlan,
        segments: &[Arc<Segment>],
        causeway: &Path,
    ) -> Result<Self> {
        let name = &cluster.cluster.name;
        let advertise: Vec<SocketAddr> =
            cluster.controller.public_ips().into_iter().map(|ip| (ip, CONTROLLER_PORT).into()).collect();
        let store = Store::open(state::store_folder(name))?;
        if cluster.preshared_keys != PresharedKeys::Never {
            // Any 32 random bytes.
            PrivateKey::load_or_create(&state::generation()).context("making the pre-shared keys")?;
        }
        let objects = Objects { store: Arc::new(store), bell: Arc::new(Notify::new()) };
        let place = site(
            &cluster.controller,
            segments,
            Folders::of_controller(name),
            (state::controller_cgroup(name), state::controller_cgroup(name)),
        )?;
        let controller = ControllerHost::new(place, controller_config(cluster, &advertise), causeway.into());
        let fail_closed: Vec<IpNet> =
            plan.clusters.iter().flat_map(|cluster| cluster.cluster.pod_cidrs.clone()).collect();
        let nodes = cluster.nodes.iter().map(|node| {
            let site = site(
                &node.host,
                segments,
                Folders::of_node(&node.name),
                (state::node_cgroup(&node.cgroup), state::system_cgroup(&node.cgroup)),
            )?;
            let config = agent_config(plan, cluster, node, &advertise, &fail_closed)?;
            Ok(Node::new(Arc::new(node.clone()), site, config, causeway.into()))
        });
        let nodes = nodes.collect::<Result<_>>()?;
        let hosts = cluster.hosts.iter().map(|host| {
            let cgroup = state::host_cgroup(&host.name);
            let site = site(&host.host, segments, Folders::of_host(&host.name), (cgroup.clone(), cgroup))?;
            Ok(OutsideHost::new(host.name.clone(), site))
        });
        let hosts = hosts.collect::<Result<_>>()?;
        Ok(Self { plan: cluster.clone(), objects, controller, nodes, hosts, problems: Mutex::default() })
    }

    /// Its name.
    pub(super) fn name(&self) -> &ClusterName {
        &self.plan.cluster.name
    }

    /// Puts its nodes and the lab file's manifests in place.
    pub(super) fn fill(&self) -> Result<()> {
        let nodes = self.plan.nodes.iter().map(|node| (node.name.to_string(), node.manifest().to_string()));
        let files =
            self.plan.manifests.iter().map(|file| (file.path.display().to_string(), file.text.clone()));
        let mut all = Vec::new();
        for (file, text) in nodes.chain(files) {
            all.extend(manifest::parse(&file, &text)?.into_iter().map(|located| located.value));
        }
        self.objects.store.apply(&all)?;
        Ok(())
    }

    /// A token with which one node joins.
    pub(super) async fn node_token(&self) -> Result<Token> {
        let asked = serve::client::post(&self.controller.socket(), "/v1/tokens/node", &()).await;
        asked.with_context(|| format!("asking the controller of {} for a token", self.name()))
    }

    /// Its pods, by name.
    pub(super) fn pods(&self) -> Result<BTreeMap<ObjectName, Pod>> {
        let manifests = self.objects.store.list(Kind::Pod)?;
        let named = manifests.into_iter().filter_map(|manifest| match manifest {
            Manifest::Pod(pod) => Some((object_name(&pod)?, *pod)),
            _ => None,
        });
        Ok(named.collect())
    }

    /// The node on which a pod is to run.
    pub(super) fn node_of(&self, pod: &Pod) -> Option<&Node> {
        let name = pod.spec.as_ref()?.node_name.as_ref()?;
        self.node(name)
    }

    /// The node of this name, without the cluster.
    pub(super) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name().node == name)
    }

    /// Its services as its objects have them: what every node is to know before the lab is up.
    pub(super) fn expected(&self) -> Vec<Expected> {
        let Ok(all) = self.objects.store.all() else { return Vec::new() };
        let dialled: BTreeSet<ServiceKey> = all.iter().filter_map(|m| dialled(self.name(), m)).collect();
        let mut index = Index::new(self.plan.cluster.clone(), Endpoints::FromSelectors);
        let mut services: BTreeMap<ServiceKey, bool> = BTreeMap::new();
        let mut ready: BTreeMap<EndpointKey, Vec<IpAddr>> = BTreeMap::new();
        for change in all.iter().flat_map(|manifest| index.apply(manifest)) {
            match change {
                Change::Upsert(Object::Service(service)) => {
                    services.insert(service.key, service.global);
                }
                Change::Upsert(Object::Endpoint(endpoint)) if endpoint.ready => {
                    ready.insert(endpoint.key, endpoint.ips);
                }
                Change::Upsert(Object::Endpoint(endpoint)) => {
                    ready.remove(&endpoint.key);
                }
                Change::Delete(Key::Endpoint(key)) => {
                    ready.remove(&key);
                }
                _ => {}
            }
        }
        let of = |service: &ServiceKey| {
            let own = ready.iter().filter(|(key, _)| key.service == *service);
            own.map(|(_, ips)| ips.clone()).collect()
        };
        let known = services.into_iter().filter(|(key, _)| dialled.contains(key));
        known.map(|(service, global)| Expected { ready: of(&service), service, global }).collect()
    }
}

/// A service with an address of its own: only those are balanced.
fn dialled(cluster: &ClusterName, manifest: &Manifest) -> Option<ServiceKey> {
    let Manifest::Service(service) = manifest else { return None };
    let spec = service.spec.as_ref()?;
    let own = spec.cluster_ip.as_deref() != Some("None") && spec.type_.as_deref() != Some("ExternalName");
    let namespace = service.metadata.namespace.clone()?;
    let name = ObjectName::new(namespace, service.metadata.name.clone()?).ok()?;
    own.then(|| ServiceKey { cluster: cluster.clone(), name })
}

pub(super) fn object_name(pod: &Pod) -> Option<ObjectName> {
    ObjectName::new(pod.metadata.namespace.clone()?, pod.metadata.name.clone()?).ok()
}

fn site(
    host: &Host,
    segments: &[Arc<Segment>],
    folders: Folders,
    (cgroup, system): (String, String),
) -> Result<Site> {
    let segment = segments.iter().find(|segment| segment.location.number == host.location);
    let segment = segment.ok_or_else(|| anyhow!("{} stands on no location of the plan", host.netns))?;
    Ok(Site { host: host.clone(), segment: Arc::clone(segment), folders, cgroup, system })
}

fn controller_config(cluster: &ClusterPlan, advertise: &[SocketAddr]) -> controller::config::Config {
    let source = controller::config::Source::Standalone { path: state::store_folder(&cluster.cluster.name) };
    controller::config::Config {
        cluster: controller::config::ClusterConfig::new(cluster.cluster.clone()),
        source,
        listen: (Ipv6Addr::UNSPECIFIED, CONTROLLER_PORT).into(),
        advertise: advertise.to_vec(),
        advertise_to_clusters: Vec::new(),
        state_dir: "/var/lib/causeway".into(),
        run_dir: "/run/causeway".into(),
        http_listen: (Ipv6Addr::UNSPECIFIED, 9642).into(),
        authority: Default::default(),
        link: Default::default(),
        multicluster: controller::config::MulticlusterConfig::default(),
        services: Default::default(),
        policy: controller::config::Policy {
            distributed: cluster.policy.distributed,
            selectors: cluster.policy.agents.selectors,
            host: cluster.policy.agents.host,
            host_always_allowed: cluster.policy.agents.host_always_allowed.clone(),
            ..Default::default()
        },
        mesh: cluster.mesh.clone(),
    }
}

fn agent_config(
    plan: &Plan,
    of: &ClusterPlan,
    node: &NodePlan,
    controllers: &[SocketAddr],
    fail_closed: &[IpNet],
) -> Result<agent::config::Config> {
    let NodeName { cluster, node: name } = node.name.clone();
    let location = plan.locations.iter().find(|location| location.number == node.host.location);
    Ok(agent::config::Config {
        cluster,
        node: name,
        controllers: controllers.to_vec(),
        token_file: Some("/run/causeway/join-token".into()),
        service_account: None,
        underlay: "eth0".into(),
        interface: "cw0".into(),
        host_root: PathBuf::new(),
        cgroup: Some(kernel::cgroup::Cgroup::at(state::node_cgroup(&node.cgroup))?.path().into()),
        pod_cidrs: node.pod_cidrs.clone(),
        cni: None,
        masquerade: of.masquerade,
        non_masquerade_cidrs: Vec::new(),
        services: of.services.clone(),
        policy: of.policy.agents.clone(),
        fail_closed: fail_closed.to_vec(),
        state_dir: "/var/lib/causeway".into(),
        run_dir: "/run/causeway".into(),
        wireguard_port: 51820,
        vxlan_port: 4789,
        key_rotation: Default::default(),
        preshared_keys: match of.preshared_keys {
            PresharedKeys::Never => None,
            wanted => Some(agent::config::PresharedKeys {
                folder: Path::new("/var/lib/causeway").join(GENERATIONS),
                required: wanted == PresharedKeys::Required,
            }),
        },
        http_listen: (Ipv6Addr::UNSPECIFIED, 9641).into(),
        dns: Some(agent::config::Dns {
            upstreams: Some(of.upstreams.clone()),
            cluster_domain: crate::pod::resolv::CLUSTER_DOMAIN.into(),
            ..Default::default()
        }),
        clusters: Default::default(),
        region: node.topology.region.clone(),
        zone: node.topology.zone.clone(),
        location: location.map(|location| location.name.clone()).unwrap_or_default(),
    })
}
