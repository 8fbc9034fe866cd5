//! A manifest with holes that settings fill.
//!
//! Written once, read two ways: [`Tree::fill`] puts settings in and yields the manifest; [`yaml::template`] writes the
//! same holes in the language of Helm's templates. Both print through one writer, so that the two agree to the byte,
//! which the checksums over configurations rely on.

mod fill;
pub(crate) mod yaml;

use serde_json::Value;

/// A part of a manifest.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    /// A text, a number, a truth value.
    Scalar(Value),
    /// What a hole was filled with: written as JSON, as Helm does.
    Filled(Value),
    /// Fields, in the order they are written in.
    Map(Vec<(String, Tree)>),
    /// Items.
    List(Vec<Tree>),
    /// What the expression says, as it is.
    Hole(Expr),
    /// A text with `{}` for each expression.
    Text(&'static str, Vec<Expr>),
    /// A field or an item that is only there when the setting is set.
    When(&'static str, Box<Tree>),
    /// A field or an item that is only there when the setting is not set.
    Unless(&'static str, Box<Tree>),
    /// A field that is one thing when the setting is set, and another when it is not.
    Either(&'static str, Box<Tree>, Box<Tree>),
    /// A list with an item for each of a setting's items.
    Each(&'static str, Box<Tree>),
    /// The text of a file.
    File(&'static File),
    /// A number that changes when the text of one of these files does.
    Checksum(&'static File),
}

/// A text file that pods are given.
#[derive(Debug)]
pub(crate) struct File {
    /// What Helm's helper templates call it.
    pub(crate) name: &'static str,
    /// What stands in it, as YAML.
    pub(crate) tree: fn() -> Tree,
}

/// What a hole is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expr {
    /// A setting, by its path.
    Setting(&'static str),
    /// All settings.
    Settings,
    /// How many items a setting has.
    Count(&'static str),
    /// The items of two settings.
    Concat(&'static str, &'static str),
    /// The item at hand, inside [`Tree::Each`].
    Item,
}

/// A setting, by its path.
pub(crate) fn set(path: &'static str) -> Tree {
    Tree::Hole(Expr::Setting(path))
}

/// How many items a setting has.
pub(crate) fn count(path: &'static str) -> Tree {
    Tree::Hole(Expr::Count(path))
}

/// The items of two settings in one list.
pub(crate) fn concat(a: &'static str, b: &'static str) -> Tree {
    Tree::Hole(Expr::Concat(a, b))
}

/// The item at hand, inside [`each`].
pub(crate) fn item() -> Tree {
    Tree::Hole(Expr::Item)
}

/// A text with `{}` for each setting.
pub(crate) fn text<const N: usize>(format: &'static str, settings: [&'static str; N]) -> Tree {
    Tree::Text(format, settings.into_iter().map(Expr::Setting).collect())
}

/// Only there when the setting is set.
pub(crate) fn when(setting: &'static str, then: impl Into<Tree>) -> Tree {
    Tree::When(setting, Box::new(then.into()))
}

/// Only there when the setting is not set.
pub(crate) fn unless(setting: &'static str, then: impl Into<Tree>) -> Tree {
    Tree::Unless(setting, Box::new(then.into()))
}

/// One thing or another.
pub(crate) fn either(setting: &'static str, then: impl Into<Tree>, otherwise: impl Into<Tree>) -> Tree {
    Tree::Either(setting, Box::new(then.into()), Box::new(otherwise.into()))
}

/// A list with an item for each of a setting's items.
pub(crate) fn each(setting: &'static str, tree: impl Into<Tree>) -> Tree {
    Tree::Each(setting, Box::new(tree.into()))
}

/// A manifest, nearly as JSON writes it: expressions stand in parentheses.
macro_rules! tree {
    ({ $($key:literal : $value:tt),* $(,)? }) => {
        $crate::tree::Tree::Map(vec![$(($key.to_owned(), tree!($value))),*])
    };
    ([ $($value:tt),* $(,)? ]) => { $crate::tree::Tree::List(vec![$(tree!($value)),*]) };
    ($value:expr) => { $crate::tree::Tree::from($value) };
}
pub(crate) use tree;

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Self::Scalar(text.into())
    }
}

impl From<i64> for Tree {
    fn from(number: i64) -> Self {
        Self::Scalar(number.into())
    }
}

impl From<bool> for Tree {
    fn from(is: bool) -> Self {
        Self::Scalar(is.into())
    }
}

impl From<Value> for Tree {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(map) if !map.is_empty() => {
                Self::Map(map.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
            Value::Array(items) if !items.is_empty() => {
                Self::List(items.into_iter().map(Self::from).collect())
            }
            other => Self::Scalar(other),
        }
    }
}
