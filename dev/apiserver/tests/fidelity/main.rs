//! What an API server does, as far as Causeway relies on it: one set of cases for the server in this crate and for a
//! real one.
//!
//! The cases under `double` run with every other test. Those under `real` need a server of their own, which
//! `./x test kubernetes` finds or starts; its kubeconfig stands in `CAUSEWAY_TEST_KUBECONFIG`.

mod applying;
mod custom;
mod deleting;
mod harness;
mod reading;
mod slices;
mod tokens;
mod watching;
mod writing;

/// Each case twice: against the double, and against a real server.
macro_rules! cases {
    ($($room:ident :: $case:ident),* $(,)?) => {
        mod double {
            $(#[tokio::test]
            async fn $case() {
                for streaming_lists in [false, true] {
                    let case = |place| async move { crate::$room::$case(&place).await };
                    crate::harness::on_double(streaming_lists, case).await;
                }
            })*
        }
        mod real {
            $(#[tokio::test]
            #[ignore = "needs a real API server: ./x test kubernetes"]
            async fn $case() {
                crate::harness::on_real(|place| async move { crate::$room::$case(&place).await }).await;
            })*
        }
    };
}

cases! {
    reading::lists_say_what_they_are,
    reading::pages_are_one_version,
    reading::what_is_not_there,
    reading::pages_count_what_is_left,
    reading::versions_that_may_be_asked_for,
    reading::selectors,
    reading::what_is_served_is_said,
    watching::everything_then_changes,
    watching::too_old_a_version_is_an_event,
    watching::the_end_is_announced_by_a_bookmark,
    watching::a_list_as_a_stream,
    watching::a_deletion_has_a_version_of_its_own,
    writing::a_stale_version_is_a_conflict,
    writing::names_are_given_and_checked,
    writing::a_lease_changes_hands_once,
    writing::a_status_is_a_part_of_its_own,
    writing::generations_count_what_is_wanted,
    writing::services_are_filled_in,
    writing::a_dry_run_leaves_nothing,
    applying::an_unchanged_apply_writes_nothing,
    applying::what_an_apply_must_say,
    applying::lists_are_merged_by_their_keys,
    applying::a_shared_field_stays,
    applying::updates_and_applies_are_two_managers,
    applying::a_status_is_applied_apart,
    deleting::finalizers_are_waited_for,
    deleting::a_deletion_answers,
    deleting::collections_go_by_selector,
    deleting::pods_are_given_time,
    deleting::a_namespace_takes_its_contents,
    custom::a_definition_is_served,
    tokens::a_token_names_the_node,
    tokens::a_token_is_refused,
    slices::pods_become_endpoints,
}
