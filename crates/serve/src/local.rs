//! The local API: JSON over HTTP/1.1 on a Unix socket. Types and paths: [`wire::local`].

mod api;
mod socket;

pub(crate) use api::ErrorBody;
pub use api::{AgentApi, ControllerApi, PlanReport, Refusal, agent_router, controller_router};
pub use socket::{Access, BindError, serve};
