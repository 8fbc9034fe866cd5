//! What is wrong with a text, and where.

use std::fmt;

use super::node::Place;

/// A mistake in a file. Prints as `FILE:LINE:COLUMN: path: what is wrong; write … instead`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// The file, as it was named to the parser.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The field, such as `spec.ports[0].port`; empty for the document itself.
    pub path: String,
    /// What is wrong.
    pub reason: Box<Reason>,
}

impl Error {
    pub(crate) fn new(file: &str, place: Place, path: String, reason: Reason) -> Self {
        Self {
            file: file.to_string(),
            line: place.line,
            column: place.column,
            path,
            reason: Box::new(reason),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        self.reason.fmt(f)
    }
}

/// What is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not YAML.
    #[error("not YAML: {0}; look at the indentation, quotes and brackets just before this place")]
    Syntax(String),
    /// Longer than we read.
    #[error("{bytes} bytes are more than the {limit} read from one file; write several files instead")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// More values than we read.
    #[error("more than {limit} values, aliases counted at every use; write several files instead")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// Deeper than we read.
    #[error("nested more than {limit} deep; write it flatter")]
    TooDeep {
        /// How deep it may be.
        limit: usize,
    },
    /// Something of YAML that we do not read.
    #[error("{what} is not supported; write {instead}")]
    Unsupported {
        /// What was found.
        what: String,
        /// What to write.
        instead: &'static str,
    },
    /// A field that the schema does not have.
    #[error("unknown field `{field}`; {}", choice(nearest.as_deref(), known))]
    UnknownField {
        /// What was written.
        field: String,
        /// What may have been meant.
        nearest: Option<String>,
        /// What may be written here.
        known: Vec<String>,
    },
    /// A value that is not one of a closed set.
    #[error("unknown value `{value}`; {}", choice(nearest.as_deref(), known))]
    UnknownValue {
        /// What was written.
        value: String,
        /// What may have been meant.
        nearest: Option<String>,
        /// What may be written here.
        known: Vec<String>,
    },
    /// A field without which the object means nothing.
    #[error("`{field}` is missing; write `{field}: …` here")]
    Missing {
        /// The field.
        field: String,
    },
    /// The same key twice in one mapping.
    #[error("`{key}` is written twice, first in line {first}; write it once")]
    Duplicate {
        /// The key.
        key: String,
        /// The line of the first.
        first: usize,
    },
    /// A value of the wrong type.
    #[error("expected {expected}, found {found}; write {instead}")]
    WrongType {
        /// What belongs here.
        expected: String,
        /// What was written.
        found: String,
        /// What to write.
        instead: String,
    },
    /// A number outside its range.
    #[error("{found} is out of range; write a whole number from {min} to {max}")]
    OutOfRange {
        /// What was written.
        found: i128,
        /// The smallest allowed.
        min: i128,
        /// The largest allowed.
        max: i128,
    },
    /// What the value's own type says of it.
    #[error("{0}")]
    Invalid(String),
    /// What the reader of the whole says of it.
    #[error("{what}; write {instead}")]
    Wrong {
        /// What is wrong.
        what: String,
        /// What to write.
        instead: String,
    },
}

/// Tells the likely meaning, or everything that may be written when that is short enough to be read.
fn choice(nearest: Option<&str>, known: &[String]) -> String {
    const READABLE: usize = 16;
    match (nearest, known.len()) {
        (Some(nearest), _) => format!("did you mean `{nearest}`?"),
        (None, 0) => "write nothing here".into(),
        (None, 1..=READABLE) => format!("write one of `{}`", known.join("`, `")),
        (None, n) => format!("write one of `{}` and {} others", known[..READABLE].join("`, `"), n - READABLE),
    }
}
