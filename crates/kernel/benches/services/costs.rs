//! What our services cost besides packets: a change, and memory.

use std::collections::BTreeSet;
use std::time::Instant;

use engine::plan::diff_touched;
use model::{Change, Endpoint, Object};

use crate::balancer::Balancer;
use crate::report::Report;
use crate::statistics::{Median, cpu_time};
use crate::world;

/// How many changes are measured.
const CHANGES: usize = 500;

/// One endpoint becomes unready, and one ready again.
pub(crate) fn one_change(ours: &mut Balancer, report: &mut Report) {
    let (me, dead) = (world::me(), BTreeSet::new());
    let live = world::live(ours.services);
    let lives = |e: &&Endpoint| {
        let name = &e.key.service.name.name;
        // The services that are dialled later stay as they are.
        *name != format!("s{live}") && name[1..].parse::<u32>().expect("a number") < ours.services
    };
    let endpoints = ours.world.endpoints.values().flat_map(|of| of.values()).filter(lives);
    let chosen: Vec<Endpoint> = endpoints.step_by(61).take(CHANGES / 2).cloned().collect();
    let (mut planning, mut wall, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    // What the kernel holds, followed as the agent follows it.
    let mut observed = ours.state.clone();
    for ready in [false, true] {
        for endpoint in &chosen {
            let change = Change::Upsert(Object::Endpoint(Endpoint { ready, ..endpoint.clone() }));
            let key = change.key();
            ours.world.apply(change);
            ours.planner.handle_change(&key);
            let begun = Instant::now();
            let view = world::view(&ours.world, &me, &dead);
            let touched = ours.planner.follow(&view, &mut ours.state).expect("only an endpoint changed");
            let ops = diff_touched(&observed, &ours.state, &touched);
            planning.push(begun.elapsed().as_secs_f64() * 1e6);
            let (begun, used) = (Instant::now(), cpu_time());
            ours.datapath.apply_all(&ops).unwrap_or_else(|e| panic!("{e}"));
            cpu.push((cpu_time() - used).as_secs_f64() * 1e6);
            wall.push(begun.elapsed().as_secs_f64() * 1e6);
            touched.copy(&ours.state, &mut observed);
            assert_eq!(ops.len(), 3, "a new set, the frontend, the old set");
        }
    }
    assert_eq!(ours.datapath.observe().expect("observe"), ours.state, "all changes are there");
    for (what, values) in [("planning_us", planning), ("maps_wall_us", wall), ("maps_cpu_us", cpu)] {
        let median = Median::of(&values);
        report.say(&format!(
            "one endpoint changes among {} services: {what} {}",
            ours.services,
            median.text(1)
        ));
        report.cost("one change", ours.services, what, median.value);
    }
}

/// What a service of four endpoints takes in the kernel.
pub(crate) fn bytes(ours: &Balancer, report: &mut Report) {
    // A hash map's own part of an element, and the pointer by which its allocator keeps it.
    const ELEMENT: usize = 48 + 8;
    use causeway_kernel::bpf::abi::{Frontend, Ladder, Page, PageKey};
    let round = |size: usize| size.next_multiple_of(8);
    let frontend = ELEMENT + round(size_of::<Frontend>()) + round(size_of::<Ladder>());
    let page = ELEMENT + round(size_of::<PageKey>()) + round(size_of::<Page>());
    let counted = ours.memory("frontends") + ours.memory("backends");
    let each = counted as f64 / f64::from(ours.services);
    report.say(&format!(
        "a service of four endpoints: {frontend} + {page} = {} bytes by its layout; the kernel's account of both maps, \
         tables of buckets included, is {counted} bytes: {each:.0} for each of {} services",
        frontend + page,
        ours.services
    ));
    report.cost("bytes", ours.services, "layout", (frontend + page) as f64);
    report.cost("bytes", ours.services, "memlock_each", each);
}
