//! Everything there is in the cluster, then what changes.
