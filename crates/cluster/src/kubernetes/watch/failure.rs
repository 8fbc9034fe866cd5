//! Why a list or a watch did not work.

use std::time::Duration;

use hyper::StatusCode;

/// Why a list or a watch did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No answer, or one that broke off.
    Unreachable(String),
    /// An answer, and not the one asked for.
    Refused {
        code: u16,
        message: String,
        /// How long the server asks us to wait.
        retry_after: Option<Duration>,
    },
    /// An answer that is none of an API server's.
    Unreadable(String),
}

impl Failure {
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the place from which to go on is no longer known to the server.
    pub(super) fn expired(&self) -> bool {
        self.code() == Some(StatusCode::GONE.as_u16())
    }

    /// Whether the server has no such kind.
    pub(super) fn absent(&self) -> bool {
        self.code() == Some(StatusCode::NOT_FOUND.as_u16())
    }

    /// Whether the server does not understand what was asked.
    pub(super) fn misunderstood(&self) -> bool {
        [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY]
            .iter()
            .any(|code| self.code() == Some(code.as_u16()))
    }

    /// Whether the server blames itself.
    pub(super) fn faulty(&self) -> bool {
        self.code() == Some(StatusCode::INTERNAL_SERVER_ERROR.as_u16())
    }

    /// Whether trying again changes nothing before somebody has done something.
    pub(super) fn lasting(&self) -> bool {
        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN]
            .iter()
            .any(|code| self.code() == Some(code.as_u16()))
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Unreachable(crate::kubernetes::error::chain(&error))
    }
}
