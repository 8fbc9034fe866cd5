//! What ought to run where: Deployments taken apart into pods, and pods placed on nodes.
