//! Putting settings in.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{Expr, Tree, yaml};

/// What expressions speak of.
#[derive(Clone, Copy)]
struct Scope<'a> {
    settings: &'a Value,
    item: Option<&'a Value>,
}

impl Tree {
    /// The manifest for these settings.
    pub(crate) fn fill(&self, settings: &Value) -> Value {
        self.filled(settings).value()
    }

    /// The same with no holes left, in the order it was written in.
    pub(crate) fn filled(&self, settings: &Value) -> Self {
        let scope = Scope { settings, item: None };
        self.in_scope(scope).expect("a whole manifest is never left out")
    }

    /// `None`: left out.
    fn in_scope(&self, scope: Scope) -> Option<Self> {
        Some(match self {
            Self::Scalar(_) | Self::Filled(_) => self.clone(),
            Self::Map(fields) => {
                let field = |(key, tree): &(String, Self)| Some((key.clone(), tree.in_scope(scope)?));
                Self::Map(fields.iter().filter_map(field).collect())
            }
            Self::List(items) => Self::List(items.iter().filter_map(|tree| tree.in_scope(scope)).collect()),
            Self::Hole(expr) => Self::Filled(scope.value(*expr)),
            Self::Text(format, exprs) => Self::Filled(scope.text(format, exprs).into()),
            Self::When(path, then) => {
                return if is_set(scope.setting(path)) { then.in_scope(scope) } else { None };
            }
            Self::Unless(path, then) => {
                return if is_set(scope.setting(path)) { None } else { then.in_scope(scope) };
            }
            Self::Either(path, then, otherwise) => {
                let chosen = if is_set(scope.setting(path)) { then } else { otherwise };
                return chosen.in_scope(scope);
            }
            Self::Each(path, tree) => {
                let items = scope.setting(path).as_array().unwrap_or_else(|| panic!("{path} is no list"));
                let of = |item| tree.in_scope(Scope { item: Some(item), ..scope });
                Self::List(items.iter().filter_map(of).collect())
            }
            Self::File(file) => {
                Self::Filled((yaml::text(&(file.tree)().filled(scope.settings)) + "\n").into())
            }
            Self::Checksum(file) => {
                let text = yaml::text(&(file.tree)().filled(scope.settings));
                let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
                Self::Filled(hex.into())
            }
        })
    }

    /// As JSON; nothing may be left open.
    fn value(self) -> Value {
        match self {
            Self::Scalar(value) | Self::Filled(value) => value,
            Self::Map(fields) => {
                let fields = fields.into_iter().map(|(key, tree)| (key, tree.value()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            Self::List(items) => items.into_iter().map(Self::value).collect(),
            open => unreachable!("filled before: {open:?}"),
        }
    }
}

impl Scope<'_> {
    fn setting(&self, path: &str) -> &Value {
        path.split('.').fold(self.settings, |value, key| {
            value
                .get(key)
                .unwrap_or_else(|| panic!("a manifest asks for the setting {path}, which does not exist"))
        })
    }

    fn value(&self, expr: Expr) -> Value {
        match expr {
            Expr::Setting(path) => self.setting(path).clone(),
            Expr::Settings => self.settings.clone(),
            Expr::Count(path) => self.setting(path).as_array().map_or(0, Vec::len).into(),
            Expr::Concat(a, b) => {
                let items = [a, b].map(|path| self.setting(path).as_array().cloned().unwrap_or_default());
                items.concat().into()
            }
            Expr::Item => self.item.expect("an item only inside of a list").clone(),
        }
    }

    fn text(&self, format: &str, exprs: &[Expr]) -> String {
        let mut parts = format.split("{}");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for (expr, part) in exprs.iter().zip(parts) {
            match self.value(*expr) {
                Value::String(text) => out.push_str(&text),
                other => out.push_str(&other.to_string()),
            }
            out.push_str(part);
        }
        out
    }
}

/// What Helm's templates take for true.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}
