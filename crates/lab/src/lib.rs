//! Several clouds on one machine.
