//! What a cluster is given so that it runs us: one typed definition, for `causeway install` and for the Helm chart.
#![forbid(unsafe_code)]
