//! What the conditions of an export say (KEP-1645): whether there is something to export, whether it is exported, and in
//! what the exports of its name differ.

use cluster::multicluster::{Behind, Condition, Exported};
use engine::mcs::{Conflict, reasons};

/// The conditions that are ours.
pub(crate) const OURS: [&str; 3] = ["Valid", "Ready", "Conflict"];

/// The conditions of an export, of which these conflicts are known; none as long as the service behind it is not known.
pub(crate) fn conditions(export: &Exported, conflicts: Option<&[Conflict]>) -> Vec<Condition> {
    let mut conditions = match export.behind {
        Behind::Service => {
            let mut all = vec![
                Condition::new("Valid", "True", "Valid", "there is such a Service, and it can be exported"),
                Condition::new("Ready", "True", "Exported", "linked clusters are told of it"),
            ];
            let conflicts = conflicts.unwrap_or_default();
            all.push(match conflicts {
                [] => Condition::new("Conflict", "False", "NoConflicts", "all clusters that export it agree"),
                some => {
                    let messages: Vec<&str> = some.iter().map(|c| c.message.as_str()).collect();
                    Condition::new("Conflict", "True", &reasons(conflicts), messages.join("\n"))
                }
            });
            all
        }
        Behind::Nothing => vec![
            Condition::new(
                "Valid",
                "False",
                "NoService",
                "there is no Service of this name; it is exported once there is",
            ),
            Condition::new("Ready", "False", "Pending", "it waits for a Service of this name"),
        ],
        Behind::ExternalName => vec![
            Condition::new(
                "Valid",
                "False",
                "InvalidServiceType",
                "the Service is an ExternalName, which cannot be exported; export the Service that it stands for, or give \
                 it another type",
            ),
            Condition::new("Ready", "False", "Failed", "an ExternalName is not exported"),
        ],
        Behind::Unshared => vec![
            Condition::new(
                "Valid",
                "False",
                "NamespaceNotShared",
                "the namespace is not shared with other clusters; annotate it with causeway.io/global: \"true\", or export \
                 from another",
            ),
            Condition::new("Ready", "False", "Failed", "nothing of the namespace is exported"),
        ],
    };
    for condition in &mut conditions {
        condition.generation = export.generation;
        keep_since(condition, &export.conditions);
    }
    conditions
}

/// A condition whose status has not changed has been so since before.
pub(crate) fn keep_since(condition: &mut Condition, held: &[Condition]) {
    let before = held.iter().find(|held| (&held.kind, &held.status) == (&condition.kind, &condition.status));
    if let Some(before) = before {
        condition.since.clone_from(&before.since);
    }
}

/// Whether those conditions that are ours say this already.
pub(crate) fn are(held: &[Condition], wanted: &[Condition], ours: &[&str]) -> bool {
    let mine = held.iter().filter(|condition| ours.contains(&condition.kind.as_str()));
    mine.count() == wanted.len()
        && wanted.iter().all(|wanted| held.iter().any(|condition| condition.says(wanted)))
}

#[cfg(test)]
mod tests {
    use engine::mcs::Reason;

    use super::*;

    #[test]
    fn what_is_said_of_an_export() {
        let conflict = |reason| Conflict { reason, message: format!("{reason:?}") };
        let two = [conflict(Reason::Port), conflict(Reason::Labels)];
        type Row<'a> = (Behind, Option<&'a [Conflict]>, &'a [(&'a str, &'a str, &'a str)]);
        let rows: [Row<'_>; 6] = [
            (
                Behind::Service,
                None,
                &[
                    ("Valid", "True", "Valid"),
                    ("Ready", "True", "Exported"),
                    ("Conflict", "False", "NoConflicts"),
                ],
            ),
            (
                Behind::Service,
                Some(&[]),
                &[
                    ("Valid", "True", "Valid"),
                    ("Ready", "True", "Exported"),
                    ("Conflict", "False", "NoConflicts"),
                ],
            ),
            (
                Behind::Service,
                Some(&two),
                &[
                    ("Valid", "True", "Valid"),
                    ("Ready", "True", "Exported"),
                    ("Conflict", "True", "PortConflict,LabelsConflict"),
                ],
            ),
            (Behind::Nothing, None, &[("Valid", "False", "NoService"), ("Ready", "False", "Pending")]),
            (
                Behind::ExternalName,
                None,
                &[("Valid", "False", "InvalidServiceType"), ("Ready", "False", "Failed")],
            ),
            (
                Behind::Unshared,
                None,
                &[("Valid", "False", "NamespaceNotShared"), ("Ready", "False", "Failed")],
            ),
        ];
        for (behind, conflicts, expected) in rows {
            let mut held = Condition::new("Valid", "True", "Old", "");
            held.since = "then".into();
            let export = Exported { behind, generation: 3, version: 1, conditions: vec![held] };
            let said = conditions(&export, conflicts);
            let words: Vec<_> =
                said.iter().map(|c| (c.kind.as_str(), c.status.as_str(), c.reason.as_str())).collect();
            assert_eq!(words, expected);
            assert!(said.iter().all(|c| c.generation == 3));
            let since = if behind == Behind::Service { "then" } else { "" };
            assert_eq!(said[0].since, since, "a status that stays has been so since before");
            assert!(!are(&export.conditions, &said, &OURS) && are(&said, &said, &OURS));
            assert!(!are(&said, &said[1..], &OURS), "what is not said any more is taken back");
        }
    }
}
