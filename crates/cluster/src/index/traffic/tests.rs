use super::*;

/// What annotations, written `key=value` with `|` between them, come to: `global shared prefer spread weights capacities`.
fn read(written: &str) -> (String, Vec<&'static str>) {
    let pairs = written.split('|').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap());
    let annotations: Annotations = pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let mut found = Vec::new();
    let Joined { global, shared, traffic } = Joined::new(Some(&annotations), Spread::Ladder, &mut found);
    assert_eq!(is_global(Some(&annotations)), global, "{written}");
    let list = |clusters: &[ClusterName]| clusters.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(">");
    let mut text = match (global, shared) {
        (true, true) => "global".to_string(),
        (true, false) => "takes".to_string(),
        (false, shared) => {
            assert!(!shared, "{written}");
            "alone".to_string()
        }
    };
    text += &match &traffic.prefer {
        Prefer::Clusters(clusters) => format!(" {}", list(clusters)),
        word => format!(" {word:?}"),
    };
    if traffic.spread == Spread::Even {
        text += " spread";
    }
    for (cluster, weight) in &traffic.cluster_weights {
        text += &format!(" {cluster}={weight}");
    }
    for (cluster, capacity) in &traffic.capacities {
        text += &format!(" {cluster}:{capacity}");
    }
    for complaint in &found {
        let key = written.split(['|', '=']).any(|word| complaint.message.contains(word));
        assert!(key && complaint.message.contains("write "), "{}", complaint.message);
    }
    (text, found.iter().map(|complaint| complaint.reason).collect())
}

#[test]
fn what_annotations_say() {
    let (g, new, old) = ("causeway.io/global=true", "service.cilium.io", "io.cilium");
    let cases: Vec<(String, &str, &[&str])> = vec![
        // Cilium's inclusion, its old spelling, its reading of case.
        ("".into(), "alone Ladder", &[]),
        (format!("{new}/global=true"), "global Ladder", &[]),
        (format!("{new}/global=True"), "global Ladder", &[]),
        (format!("{old}/global-service=TRUE"), "global Ladder", &[]),
        (format!("{new}/global=false"), "alone Ladder", &[]),
        (format!("{new}/global="), "alone Ladder", &[]),
        (format!("{new}/global=yes"), "alone Ladder", &["UnknownFlag"]),
        (format!("{new}/global=1"), "alone Ladder", &["UnknownFlag"]),
        // The newer spelling decides where both are there; ours before either.
        (format!("{new}/global=false|{old}/global-service=true"), "alone Ladder", &[]),
        (format!("{new}/global=true|{old}/global-service=false"), "global Ladder", &[]),
        (format!("causeway.io/global=false|{new}/global=true"), "alone Ladder", &[]),
        (g.into(), "global Ladder", &[]),
        // Sharing: by default, never without being global, `false` takes and gives nothing.
        (format!("{g}|{new}/shared=false"), "takes Ladder", &[]),
        (format!("{g}|{old}/shared-service=false"), "takes Ladder", &[]),
        (format!("{g}|{new}/shared=True"), "global Ladder", &[]),
        (format!("{g}|{new}/shared=no"), "takes Ladder", &["UnknownFlag"]),
        (format!("{g}|{new}/shared=true|{old}/shared-service=false"), "global Ladder", &[]),
        (format!("{g}|causeway.io/shared=false|{new}/shared=true"), "takes Ladder", &[]),
        (format!("{new}/shared=true"), "alone Ladder", &[]),
        // Affinity: three words, only where global.
        (format!("{g}|{new}/affinity=none"), "global Even", &[]),
        (format!("{g}|{new}/affinity=local"), "global Local", &[]),
        (format!("{g}|{new}/affinity=Remote"), "global Remote", &[]),
        (format!("{g}|{old}/service-affinity=remote"), "global Remote", &[]),
        (format!("{g}|{new}/affinity=local|{old}/service-affinity=remote"), "global Local", &[]),
        (format!("{g}|{new}/affinity=near"), "global Ladder", &["UnknownAffinity"]),
        (format!("{new}/affinity=local"), "alone Ladder", &[]),
        (format!("{g}|{new}/shared=false|{new}/affinity=local"), "takes Local", &[]),
        // Ours goes before Cilium's.
        (format!("{g}|causeway.io/prefer=ladder|{new}/affinity=local"), "global Ladder", &[]),
        (format!("{g}|causeway.io/prefer=local"), "global LadderLocal", &[]),
        (format!("{g}|causeway.io/prefer=remote"), "global LadderRemote", &[]),
        (format!("{g}|causeway.io/prefer=even"), "global Even", &[]),
        (format!("{g}|causeway.io/prefer=aws"), "global aws", &[]),
        (format!("{g}|causeway.io/prefer=local,"), "global local", &[]),
        (format!("{g}|causeway.io/prefer= aws, gcp ,onprem"), "global aws>gcp>onprem", &[]),
        (format!("{g}|causeway.io/prefer=aws,aws"), "global Ladder", &["UnknownPreference"]),
        (format!("{g}|causeway.io/prefer=aws,,gcp"), "global Ladder", &["UnknownPreference"]),
        (format!("{g}|causeway.io/prefer=AWS"), "global Ladder", &["UnknownPreference"]),
        (format!("{g}|causeway.io/prefer="), "global Ladder", &["UnknownPreference"]),
        // Weights: 0 drains on the ladder; a proportion puts the clusters beside each other.
        (format!("{g}|causeway.io/cluster-weights=gcp=0"), "global Ladder gcp=0", &[]),
        (format!("{g}|causeway.io/cluster-weights=aws=3, gcp=1"), "global Even aws=3 gcp=1", &[]),
        (
            format!("{g}|causeway.io/prefer=ladder|causeway.io/cluster-weights=aws=3"),
            "global Ladder aws=3",
            &[],
        ),
        (format!("{g}|{new}/affinity=remote|causeway.io/cluster-weights=aws=3"), "global Remote aws=3", &[]),
        (
            format!("{g}|causeway.io/cluster-weights=aws=-1,gcp=2,aws"),
            "global Even gcp=2",
            &["UnknownClusterWeight"],
        ),
        (format!("{g}|causeway.io/cluster-weights=aws=101"), "global Ladder", &["UnknownClusterWeight"]),
        (
            format!("{g}|causeway.io/cluster-weights=aws=1,aws=2"),
            "global Ladder aws=1",
            &["UnknownClusterWeight"],
        ),
        // Capacities: of any cluster, whatever is preferred; none is 0.
        (format!("{g}|causeway.io/capacity=aws=300, gcp=1000000"), "global Ladder aws:300 gcp:1000000", &[]),
        (
            format!("{g}|causeway.io/capacity=aws=0,gcp=5,azure=1000001,gcp=6,-"),
            "global Ladder gcp:5",
            &["UnknownCapacity"],
        ),
        ("causeway.io/capacity=12".into(), "alone Ladder", &["UnknownCapacity"]),
        // Within the cluster.
        ("causeway.io/traffic=even".into(), "alone Ladder spread", &[]),
        ("causeway.io/traffic=ladder".into(), "alone Ladder", &[]),
        ("causeway.io/traffic=fair".into(), "alone Ladder", &["UnknownTraffic"]),
    ];
    for (written, want, complaints) in cases {
        let (got, found) = read(&written);
        assert_eq!(got, want, "{written}");
        assert_eq!(found, complaints, "{written}");
    }
}

#[test]
fn a_complaint_names_annotation_value_and_remedy() {
    let mut found = Vec::new();
    let annotations = [("service.cilium.io/affinity", "near"), ("causeway.io/global", "true")];
    let annotations = annotations.map(|(key, value)| (key.to_string(), value.to_string())).into();
    Joined::new(Some(&annotations), Spread::Ladder, &mut found);
    assert_eq!(
        found[0].message,
        "the annotation service.cilium.io/affinity is \"near\", which is no affinity; it counts as left out; write \
         \"none\", \"local\" or \"remote\""
    );
}
