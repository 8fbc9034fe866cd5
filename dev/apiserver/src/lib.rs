//! A Kubernetes API server for tests: real HTTP on loopback, real list, watch and patch, and faults on request.
#![forbid(unsafe_code)]
