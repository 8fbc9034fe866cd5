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
mod tokens;
mod watching;
mod writing;

/// Each case twice: against the double, and against a real server.
macro_rules! cases {
    ($($room:ident :: $case:ident),* $(,)?) => {
        mod double {
            $(#[tokio::test]
            async fn $case() {
                crate::harness::on_double(|place| async move { crate::$room::$case(&place).await }).await;
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
    watching::everything_then_changes,
    writing::a_stale_version_is_a_conflict,
    applying::an_unchanged_apply_writes_nothing,
    deleting::finalizers_are_waited_for,
    custom::a_definition_is_served,
    tokens::a_token_names_the_node,
}
