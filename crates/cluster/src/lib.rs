//! Where the objects of a cluster come from.
