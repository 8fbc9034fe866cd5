//! The namespace that everything stands in, made and cleared away by the outer run.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use kernel::cgroup::Cgroup;
use kernel::netns::Netns;
use kernel::sandbox::{self, Sandbox};
use lab::node::machine::{MOUNT_POINTS, Segment};
use lab::plan::Location;

/// The namespace of the API server and the controllers, and the beginning of all others' names.
pub(crate) const NAME: &str = "cwt_e2e";

/// Where everything of the nodes runs, below the control groups' root.
pub(crate) const CGROUP: &str = "causeway-e2e";

/// The address of the API server and the controllers.
pub(crate) const HOST: &str = "10.213.0.1";

/// The place of the nodes: the bridge in [`NAME`].
pub(crate) fn location() -> Location {
    Location {
        number: 1,
        cluster: "e2e".parse().expect("a sound name"),
        name: "e2e".into(),
        netns: NAME.into(),
        gateways: vec![format!("{HOST}/24").parse().expect("a sound address")],
        uplink: Vec::new(),
        public: Vec::new(),
    }
}

/// The namespace and its bridge.
pub(crate) struct World {
    segment: Segment,
    /// Folders that were not there before: nodes see their own in their place.
    folders: Vec<&'static Path>,
}

impl World {
    /// Makes it, after clearing away what an earlier run may have left.
    pub(crate) async fn make() -> Result<World> {
        clear();
        let segment = Segment::build(&location()).await;
        let segment = segment.context("making a network namespace and a bridge in it (this needs root)")?;
        let mut folders = Vec::new();
        for folder in MOUNT_POINTS.map(Path::new).into_iter().filter(|f| !f.exists()) {
            std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
            folders.push(folder);
        }
        Ok(World { segment, folders })
    }

    /// Runs this program again, inside, and waits for its end.
    pub(crate) fn run_inside(&self) -> Result<()> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args(std::env::args_os().skip(1)).arg("--inside");
        let netns = Some(Arc::clone(&self.segment.netns));
        let place = Sandbox { netns, die_with_parent: true, ..Sandbox::default() };
        let status = sandbox::spawn(command, &place).context("starting the inner run")?.wait()?;
        if status.success() { Ok(()) } else { bail!("the inner run failed: {status}") }
    }

    /// Takes everything away.
    pub(crate) fn clear(self) {
        clear();
        for folder in self.folders {
            // Somebody else may have put something there meanwhile, and keeps it.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Ends what runs on the nodes and removes all namespaces of ours.
fn clear() {
    if let Ok(cgroup) = Cgroup::at(CGROUP)
        && cgroup.exists()
    {
        let ended = cgroup.kill().and_then(|()| cgroup.remove_tree());
        ended.unwrap_or_else(|e| eprintln!("e2e: clearing away the control group {CGROUP}: {e}"));
    }
    for name in Netns::list().unwrap_or_default().iter().filter(|n| n.starts_with(NAME)) {
        Netns::delete(name).unwrap_or_else(|e| eprintln!("e2e: clearing away the namespace {name}: {e}"));
    }
}
