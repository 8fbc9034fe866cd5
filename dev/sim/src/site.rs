//! Who takes part: controllers and agents.

use std::collections::HashMap;

use engine::exchange::{Audience, Limits, Teller};
use model::{Change, ClusterName, World};

use crate::Random;
use crate::network::Time;
use crate::shape::{self, Pods, Shape};

/// A cluster's controller, as far as it tells and hears.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) teller: Teller,
    pub(crate) pods: Pods,
    /// Streams it tells on.
    pub(crate) tells: Vec<usize>,
    /// The streams it hears the other clusters on, by cluster.
    pub(crate) hears: Vec<Option<usize>>,
    /// Until when it is busy with what it has heard.
    pub(crate) busy: Time,
}

impl Controller {
    pub(crate) fn new(cluster: usize, clusters: usize, shape: Shape, random: &mut Random) -> Self {
        let mut teller = Teller::new(shape::name(cluster), random.number(), Limits::default());
        let (pods, objects) = Pods::new(cluster, shape, random);
        for object in objects {
            teller.apply(Change::Upsert(object));
        }
        Self { teller, pods, tells: Vec::new(), hears: vec![None; clusters], busy: 0 }
    }

    /// How many objects it knows of each cluster.
    pub(crate) fn known(&self) -> HashMap<ClusterName, usize> {
        let mut counts = HashMap::new();
        for object in self.told(Audience::Agents) {
            *counts.entry(object.key().cluster().clone()).or_default() += 1;
        }
        counts
    }

    /// Everything it tells others, as a receiver should know it.
    pub(crate) fn told(&self, audience: Audience) -> impl Iterator<Item = &model::Object> {
        self.teller.log(audience).objects().map(|object| &**object)
    }
}

/// A node's agent, as far as it hears.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    pub(crate) world: World,
    /// Its cluster.
    pub(crate) cluster: usize,
    pub(crate) busy: Time,
}
