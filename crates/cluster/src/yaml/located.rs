//! A value and the text it came from.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::de;
use super::error::{Error, Reason};
use super::node::{Data, Node, Place};

/// A value that was read from a file, with the way from each of its fields back to a line.
///
/// Paths are written as errors print them: `clusters[0].podCIDRs[1]`, and `["…"]` around a key with dots in it, as in
/// `metadata.annotations["causeway.io/global"]`.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    file: Arc<str>,
    root: Arc<Node>,
    /// Where the value stands in its document, such as `items[3]`; empty for the document itself.
    within: Arc<str>,
}

impl Located<()> {
    pub(super) fn new(file: &Arc<str>, root: Arc<Node>) -> Self {
        Self { value: (), file: file.clone(), root, within: "".into() }
    }

    /// Reads the value as a `T`.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<Located<T>, Error> {
        match T::deserialize(de::De::new(&self.root)) {
            Ok(value) => Ok(self.with(value)),
            Err(fault) => {
                let (place, path, reason) = fault.into_parts(&self.root);
                Err(Error::new(&self.file, place, self.full_path(&path), reason))
            }
        }
    }

    /// The error that it is not a mapping, unless it is one.
    pub(crate) fn expect_mapping(&self, expected: &str, instead: &str) -> Result<(), Error> {
        match self.root.data {
            Data::Map(_) => Ok(()),
            Data::Scalar(_) | Data::List(_) => {
                let (expected, instead) = (expected.into(), instead.into());
                Err(self.because("", Reason::WrongType { expected, instead, found: self.root.words() }))
            }
        }
    }

    /// The text of a scalar field, if the value has one there.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        match &walk(&self.root, path).ok()?.data {
            Data::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// The elements of a list field, each on its own.
    pub(crate) fn elements(&self, path: &str) -> Option<Vec<Located<()>>> {
        let Data::List(items) = &walk(&self.root, path).ok()?.data else { return None };
        let one = |(index, item): (usize, &Arc<Node>)| Located {
            value: (),
            file: self.file.clone(),
            root: item.clone(),
            within: self.full_path(&format!("{path}[{index}]")).into(),
        };
        Some(items.iter().enumerate().map(one).collect())
    }
}

impl<T> Located<T> {
    /// The file it came from, as it was named to the parser.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line it begins in.
    pub fn line(&self) -> usize {
        self.root.place.line
    }

    /// Another value made from the same text.
    pub fn with<U>(&self, value: U) -> Located<U> {
        Located { value, file: self.file.clone(), root: self.root.clone(), within: self.within.clone() }
    }

    /// The value transformed.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: f(self.value), file: self.file, root: self.root, within: self.within }
    }

    /// Whether something is written at `path`.
    pub fn has(&self, path: &str) -> bool {
        walk(&self.root, path).is_ok_and(|node| !node.is_null())
    }

    /// An error about the value at `path`: `what` is wrong with it, and `instead` is to be written. A path that is not
    /// in the text is placed where its nearest ancestor is.
    pub fn error(&self, path: &str, what: impl Into<String>, instead: impl Into<String>) -> Error {
        self.because(path, Reason::Wrong { what: what.into(), instead: instead.into() })
    }

    /// An error about the value at `path`, for a reason.
    pub fn because(&self, path: &str, reason: Reason) -> Error {
        let node = walk(&self.root, path).unwrap_or_else(|nearest| nearest);
        Error::new(&self.file, node.place, self.full_path(path), reason)
    }

    /// The line that `path` is written in, or its nearest ancestor.
    pub fn line_of(&self, path: &str) -> usize {
        let Place { line, .. } = walk(&self.root, path).unwrap_or_else(|nearest| nearest).place;
        line
    }

    fn full_path(&self, path: &str) -> String {
        match (self.within.is_empty(), path.is_empty()) {
            (true, _) => path.to_string(),
            (false, true) => self.within.to_string(),
            (false, false) => format!("{}.{path}", self.within),
        }
    }
}

/// The path of the field `key` of the mapping at `path`.
pub fn field(path: &str, key: &str) -> String {
    let simple = key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') && !key.is_empty();
    match (simple, path.is_empty()) {
        (false, _) => format!("{path}[\"{key}\"]"),
        (true, true) => key.to_string(),
        (true, false) => format!("{path}.{key}"),
    }
}

/// The node at `path`, or the last one on the way that is there.
fn walk<'a>(root: &'a Node, path: &str) -> Result<&'a Node, &'a Node> {
    let mut node = root;
    let mut rest = path;
    while !rest.is_empty() {
        let (step, after) = next_step(rest);
        let next = match (&node.data, step) {
            (Data::Map(entries), Step::Key(key)) => {
                entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
            }
            (Data::List(items), Step::Index(index)) => items.get(index),
            _ => None,
        };
        node = next.ok_or(node)?;
        rest = after;
    }
    Ok(node)
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// Splits the first step off a path. A step that cannot be read leads nowhere, as one that is not there does.
fn next_step(path: &str) -> (Step<'_>, &str) {
    let (step, after) = if let Some(quoted) = path.strip_prefix("[\"") {
        let (key, after) = quoted.split_once("\"]").unwrap_or((quoted, ""));
        (Step::Key(key), after)
    } else if let Some(index) = path.strip_prefix('[') {
        let (index, after) = index.split_once(']').unwrap_or((index, ""));
        (Step::Index(index.parse().unwrap_or(usize::MAX)), after)
    } else {
        let end = path.find(['.', '[']).unwrap_or(path.len());
        (Step::Key(&path[..end]), &path[end..])
    };
    (step, after.strip_prefix('.').unwrap_or(after))
}
