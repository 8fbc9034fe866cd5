use serde_json::json;

use super::*;

fn service() -> ServiceReport {
    let backend = |pod: &str, cluster: &str, tier: &str, share: f64, why: &str| {
        json!({
            "pod": pod, "ips": ["10.1.0.2"], "node": format!("{cluster}-1"), "zone": "a", "region": "eu",
            "cluster": cluster, "tier": tier, "weight": 1, "healthy": why.is_empty(), "in": why.is_empty(),
            "share": share, "why": why,
        })
    };
    serde_json::from_value(json!({
        "cluster": "aws", "namespace": "demo", "name": "echo", "type": "ClusterIP", "from": "aws-1",
        "vips": ["10.101.0.1"], "ports": [{"name": "", "protocol": "TCP", "port": 80}],
        "global": true, "shared": true, "exported": false, "imported": false, "prefer": "aws,gcp",
        "clusterWeights": {"gcp": 0}, "capacities": {"aws": 3}, "clusters": ["aws", "gcp"], "healthy": 1, "total": 2,
        "backends": [
            backend("demo/echo-0", "aws", "node", 1.0, ""),
            backend("demo/echo-1", "gcp", "elsewhere", 0.0, "its cluster's weight is 0"),
        ],
        "tiers": [
            {"tier": "node", "clusters": ["aws"], "ready": 1, "capacity": 3, "passes": 0.333, "share": 1.0},
        ],
        "frontends": [
            {"address": "10.101.0.1", "port": 80, "protocol": "TCP", "tiers": [
                {"tier": "node", "clusters": ["aws"], "ready": 1, "capacity": 3, "passes": 0.333, "share": 1.0},
            ]},
            {"address": "10.101.0.1", "port": 81, "protocol": "TCP", "tiers": [
                {"tier": "elsewhere", "clusters": ["gcp"], "ready": 1, "capacity": 1, "passes": 0.0, "share": 1.0},
            ]},
            {"address": "fd10::1", "port": 80, "protocol": "TCP", "tiers": []},
            {"address": "0.0.0.0", "port": 30081, "protocol": "TCP", "tiers": [
                {"tier": "elsewhere", "clusters": ["gcp"], "ready": 1, "capacity": 1, "passes": 0.0, "share": 1.0},
            ]},
        ],
        "distances": [
            {"cluster": "gcp", "place": 1, "rttMs": 12.34, "egressCostMs": 30.0, "weight": 2, "scoreMs": 21.17},
            {"cluster": "lab", "place": 2, "rttMs": null, "egressCostMs": 0.0, "weight": 1, "scoreMs": null},
        ],
        "outside": [
            {"address": "198.51.100.1", "port": 80, "protocol": "TCP", "backends": ["demo/echo-0"], "masquerade": false,
             "otherwise": "drop", "sources": ["192.0.2.0/24", "10.0.0.0/8"]},
            {"address": "fd10::1", "port": 30080, "protocol": "TCP", "backends": [], "masquerade": false,
             "otherwise": "drop", "sources": null},
            {"address": "fd20::1", "port": 80, "protocol": "TCP", "backends": [], "masquerade": true,
             "otherwise": "refuse", "sources": []},
            {"address": "fd30::1", "port": 80, "protocol": "TCP", "backends": ["demo/echo-0"], "masquerade": true,
             "sees": "either", "agreed": true, "otherwise": "refuse", "sources": null},
        ],
        "doubts": ["port 81/SCTP: not this way"],
        "problems": [], "differences": ["10.101.0.1:80/TCP: planned, but the data path has no entry for it"],
    }))
    .unwrap()
}

#[test]
fn listed() {
    assert_eq!(
        list(&[service()]),
        "  SERVICE    CLUSTER  TYPE       ADDRESS     PORTS   JOINED  ANSWERED BY  HEALTHY
  demo/echo  aws      ClusterIP  10.101.0.1  80/TCP  global  aws gcp          1/2
  ! demo/echo: port 81/SCTP: not this way
  ! demo/echo: 10.101.0.1:80/TCP: planned, but the data path has no entry for it
"
    );
    assert_eq!(list(&[]), "no service here\n");
}

#[test]
fn shown() {
    assert_eq!(
        show(&[service()]),
        "service aws/demo/echo
  type       ClusterIP
  dialled at 10.101.0.1 port 80/TCP
  joined     global: one with its namesakes in other clusters
  prefers    aws, gcp in this order; gcp weighs 0; aws is to carry 3
  seen from  aws/aws-1
  new ones   1 of 2 backends fit

  TIER  OF   READY  GOES ON    SHARE
  node  aws    1/3   33.3 %  100.0 %

  at 10.101.0.1 port 81/TCP, node port 30081/TCP
  TIER       OF   READY  GOES ON    SHARE
  elsewhere  gcp    1/1    0.0 %  100.0 %

  at fd10::1 port 80/TCP: nobody

  CLUSTER  PLACE      RTT     COST  WEIGHT    SCORE
  gcp          1  12.3 ms  30.0 ms       2  21.2 ms
  lab          2  unknown   0.0 ms       1  unknown

  BACKEND      NODE       ZONE  TIER       WEIGHT    SHARE  IN   WHY
  demo/echo-0  aws/aws-1  a     node            1  100.0 %  in
  demo/echo-1  gcp/gcp-1  a     elsewhere       1    0.0 %  out  its cluster's weight is 0

  FROM OUTSIDE         BACKENDS            CHOSEN BY                 SEEN AS                 WHO MAY
  198.51.100.1:80/TCP  demo/echo-0         each node                 themselves              192.0.2.0/24, 10.0.0.0/8
  [fd10::1]:30080/TCP  none here: dropped  each node                 themselves              everybody
  [fd20::1]:80/TCP     none: refused       each node                 the node                nobody
  [fd30::1]:80/TCP     demo/echo-0         all nodes alike (Maglev)  themselves or the node  everybody
  ! demo/echo: port 81/SCTP: not this way
  ! demo/echo: 10.101.0.1:80/TCP: planned, but the data path has no entry for it
"
    );
}
