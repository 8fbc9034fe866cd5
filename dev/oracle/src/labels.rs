//! Selectors, as the specification of labels says them.

use model::ClusterName;
use model::policy::{
    Labels, Namespace, NamespaceChoice, NamespaceName, Operator, Pod, PolicySubject, Selector,
};

use crate::Scene;

/// Whether something is so, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// That depends on what is not known yet.
    Unknown,
}

/// The labels of a namespace, if it is known.
pub(crate) fn of_namespace<'a>(scene: &'a Scene, name: &NamespaceName) -> Option<&'a Labels> {
    scene.namespaces.iter().find(|its: &&Namespace| its.name == *name).map(|its| &its.labels)
}

/// Whether a pod was told of, and not only given addresses.
pub(crate) fn is_known(scene: &Scene, pod: &Pod) -> bool {
    scene.pods.iter().any(|its| its.name == pod.name)
}

/// Whether a policy's subject selects a pod.
pub fn selects(scene: &Scene, subject: &PolicySubject, pod: &Pod) -> Truth {
    let PolicySubject::Pods(subject) = subject else { return Truth::No };
    let cluster = &pod.name.namespace.cluster;
    let namespace = match &subject.namespaces {
        NamespaceChoice::Named(name) if *name == pod.name.namespace.name => Truth::Yes,
        NamespaceChoice::Named(_) => Truth::No,
        NamespaceChoice::Selected(selector) => {
            holds(selector, cluster, of_namespace(scene, &pod.name.namespace))
        }
    };
    let labels = scene.pods.iter().find(|its| its.name == pod.name).map(|its| &its.labels);
    let pods = holds(&subject.pods, cluster, labels);
    if namespace == Truth::No || pods == Truth::No {
        Truth::No
    } else if namespace == Truth::Unknown || pods == Truth::Unknown {
        Truth::Unknown
    } else {
        Truth::Yes
    }
}

/// "The requirements of a selector are ANDed; without any it selects everything." `In` and `Exists` want the key, `NotIn` and
/// `DoesNotExist` are content without it. The name of the cluster is a label that everything has.
pub(crate) fn holds(selector: &Selector, cluster: &ClusterName, labels: Option<&Labels>) -> Truth {
    // Whose labels are not known may be meant, whatever is asked for.
    let unknown = labels.is_none();
    for requirement in &selector.requirements {
        let key = requirement.key.as_str();
        let value = if key == "causeway.io/cluster" || key == "io.cilium.k8s.policy.cluster" {
            Some(cluster.to_string())
        } else if let Some(labels) = labels {
            labels.get(key).cloned()
        } else {
            continue;
        };
        let good = match (&requirement.operator, value) {
            (Operator::In(values), Some(value)) => values.contains(&value),
            (Operator::In(_), None) => false,
            (Operator::NotIn(values), Some(value)) => !values.contains(&value),
            (Operator::NotIn(_), None) => true,
            (Operator::Exists, value) => value.is_some(),
            (Operator::DoesNotExist, value) => value.is_none(),
        };
        if !good {
            return Truth::No;
        }
    }
    if unknown { Truth::Unknown } else { Truth::Yes }
}
