//! A controller whose cluster is an API server. One program of tests, because linking one takes longer than running it.

mod common;
mod enrolment;
mod links;
mod multicluster;
mod takeover;
mod writes;
