//! Those that are compared, in turns: A B C, C B A, and so on. What disturbs the machine disturbs all of them.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_kernel::netns::Netns;

use crate::balancer::{self, Balancer};
use crate::traffic::{self, Account, Sample, Server, Test};

/// One of those that are compared.
pub(crate) struct Arm<'a> {
    pub(crate) name: String,
    /// How many services there are.
    pub(crate) services: u32,
    /// Where clients belong; nothing: sockets dial what they say.
    pub(crate) balancer: Option<&'a Balancer>,
    pub(crate) client: &'a Netns,
    pub(crate) server: &'a Server,
    pub(crate) dialled: SocketAddr,
}

impl Arm<'_> {
    /// Stops the run if nobody answers: it would measure nothing.
    pub(crate) fn check(&self) {
        balancer::enter(self.balancer);
        let answers = traffic::answers(self.client, self.dialled.ip(), self.dialled.port());
        assert!(answers, "{}: nobody answers at {}", self.name, self.dialled);
    }
}

/// Every arm's samples, one a round.
pub(crate) fn take(
    arms: &[Arm<'_>],
    test: Test,
    size: usize,
    rounds: usize,
    window: Duration,
    account: Account,
) -> Vec<Vec<Sample>> {
    let mut samples = vec![Vec::with_capacity(rounds); arms.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..arms.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let arm = &arms[at];
            balancer::enter(arm.balancer);
            samples[at].push(traffic::measure(
                arm.client,
                arm.dialled,
                arm.server,
                test,
                size,
                window,
                account,
            ));
        }
    }
    balancer::enter(None);
    samples
}
