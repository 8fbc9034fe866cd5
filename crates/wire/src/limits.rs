//! How much is too much. A sender that keeps to Kubernetes' own limits never meets one of these.

/// Bytes of a message on a stream.
pub const FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Changes in a batch.
pub const BATCH_CHANGES: usize = 4096;
/// Services named in one message about whose endpoints are wanted.
pub const INTEREST_NAMES: usize = 16_384;
/// Services whose endpoints a receiver can want in all.
pub const INTEREST_TOTAL: usize = 262_144;
/// Characters of why a stream ends.
pub const FAREWELL_CHARS: usize = 512;
/// Address ranges of a cluster or node, each kind.
pub const RANGES: usize = 64;
/// Addresses of a node, each kind.
pub const NODE_IPS: usize = 64;
/// Nodes that may have a peer's tunnel.
pub const GATEWAYS: usize = 64;
/// Ports of a service or endpoint.
pub const PORTS: usize = 1024;
/// Addresses of a service beside its virtual ones, each kind.
pub const SERVICE_IPS: usize = 64;
/// Ranges of clients of a service (`loadBalancerSourceRanges`), those that are one taken together.
pub const SOURCE_RANGES: usize = 1024;
/// Zones and nodes that an endpoint is meant for (Kubernetes: 8 of each).
pub const HINTS: usize = 16;
/// Labels of an endpoint.
pub const LABELS: usize = 1024;
/// Characters of a region, zone or location.
pub const PLACE_CHARS: usize = 253;
/// Characters of a port's name (RFC 6335 allows 15, Kubernetes' EndpointSlice 63).
pub const PORT_NAME_CHARS: usize = 63;
/// Characters of an endpoint's name: a pod's name or an address.
pub const ENDPOINT_NAME_CHARS: usize = 253;
/// Characters of a label's key: a DNS name, a slash, 63 more.
pub const LABEL_KEY_CHARS: usize = 317;
/// Characters of a label's value.
pub const LABEL_VALUE_CHARS: usize = 63;
/// Characters of a pod's host name.
pub const HOSTNAME_CHARS: usize = 63;
/// Characters of `appProtocol`: a label's key.
pub const APP_PROTOCOL_CHARS: usize = LABEL_KEY_CHARS;
/// Characters of `trafficDistribution`.
pub const TRAFFIC_DISTRIBUTION_CHARS: usize = 63;
/// Bytes of the annotations of an export (Kubernetes allows an object 256 KiB of them).
pub const ANNOTATION_BYTES: usize = 256 * 1024;
/// Clusters of a clusterset.
pub const CLUSTERS: usize = 511;
/// Characters of a version.
pub const VERSION_CHARS: usize = 64;
/// Roots of a cluster's trust bundle.
pub const ROOTS: usize = 8;
/// Bytes of one certificate or signing request.
pub const CERTIFICATE_BYTES: usize = 16 * 1024;
/// Characters of a rule's name (ClusterNetworkPolicy: 100).
pub const RULE_NAME_CHARS: usize = 100;
/// Characters of where in its object a rule is.
pub const RULE_PATH_CHARS: usize = 128;
/// Characters of a policy's name: an object's, and which part of it.
pub const POLICY_NAME_CHARS: usize = 253 + 8;
/// Characters of a domain name in a policy, its wildcard among them.
pub const DOMAIN_NAME_CHARS: usize = 255;
