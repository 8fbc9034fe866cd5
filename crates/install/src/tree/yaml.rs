//! Writing trees as YAML: without holes for the API server, with holes as a Helm template.

use serde_json::Value;

use super::{Expr, Tree};

/// A tree as YAML; its holes, if any are left, in the language of Helm's templates. The last line is not ended.
pub(crate) fn text(tree: &Tree) -> String {
    let mut writer = Writer::default();
    match tree {
        Tree::Map(fields) => fields.iter().for_each(|(key, value)| writer.field(0, key, value)),
        Tree::List(items) => items.iter().for_each(|item| writer.item(0, item)),
        other => writer.lines.push(inline(other, false).expect("a document is a map, a list or a scalar")),
    }
    writer.lines.join("\n")
}

#[derive(Default)]
struct Writer {
    lines: Vec<String>,
    /// Inside of a list whose items a setting gives: `.` is the item there.
    in_each: bool,
}

impl Writer {
    fn line(&mut self, indent: usize, text: &str) {
        self.lines.push(format!("{:indent$}{text}", ""));
    }

    fn control(&mut self, text: &str) {
        self.lines.push(format!("{{{{- {text} }}}}"));
    }

    fn field(&mut self, indent: usize, key: &str, tree: &Tree) {
        let key = plain_or_quoted(key);
        match tree {
            Tree::When(path, then) => {
                self.control(&format!("if {}", setting(path, self.in_each)));
                self.field(indent, &key, then);
                self.control("end");
            }
            Tree::Unless(path, then) => {
                self.control(&format!("if not {}", setting(path, self.in_each)));
                self.field(indent, &key, then);
                self.control("end");
            }
            Tree::Either(path, then, otherwise) => {
                self.control(&format!("if {}", setting(path, self.in_each)));
                self.field(indent, &key, then);
                self.control("else");
                self.field(indent, &key, otherwise);
                self.control("end");
            }
            Tree::Map(fields) if fields.is_empty() => self.line(indent, &format!("{key}: {{}}")),
            Tree::Map(fields) => {
                assert!(
                    holds(fields.iter().map(|(_, tree)| tree)),
                    "{key}: could end up with no field at all"
                );
                self.line(indent, &format!("{key}:"));
                fields.iter().for_each(|(key, value)| self.field(indent + 2, key, value));
            }
            Tree::List(items) if items.is_empty() => {
                self.line(indent, &format!("{key}:"));
                self.line(indent + 2, "[]");
            }
            Tree::List(items) => {
                assert!(holds(items), "{key}: could end up with no item at all");
                self.line(indent, &format!("{key}:"));
                items.iter().for_each(|item| self.item(indent, item));
            }
            Tree::Each(path, tree) => {
                self.line(indent, &format!("{key}:"));
                self.control(&format!("range {}", setting(path, self.in_each)));
                self.in_each = true;
                self.item(indent, tree);
                self.in_each = false;
                self.control("else");
                self.line(indent + 2, "[]");
                self.control("end");
            }
            Tree::File(file) => {
                self.line(indent, &format!("{key}: |"));
                let depth = indent + 2;
                self.lines.push(format!("{{{{ include \"causeway.{}\" . | indent {depth} }}}}", file.name));
            }
            Tree::Filled(Value::String(file)) if file.ends_with('\n') => {
                self.line(indent, &format!("{key}: |"));
                file.lines().for_each(|line| self.line(indent + 2, line));
            }
            scalar => {
                let value = inline(scalar, self.in_each).expect("every other kind was matched above");
                self.line(indent, &format!("{key}: {value}"));
            }
        }
    }

    fn item(&mut self, indent: usize, tree: &Tree) {
        match tree {
            Tree::When(path, then) => {
                self.control(&format!("if {}", setting(path, self.in_each)));
                self.item(indent, then);
                self.control("end");
            }
            Tree::Unless(path, then) => {
                self.control(&format!("if not {}", setting(path, self.in_each)));
                self.item(indent, then);
                self.control("end");
            }
            Tree::Map(fields) => {
                let first = self.lines.len();
                fields.iter().for_each(|(key, value)| self.field(indent + 2, key, value));
                let line = self.lines.get_mut(first).expect("an item has a field");
                assert!(!line.starts_with("{{"), "the first field of an item is always there");
                line.replace_range(indent..indent + 1, "-");
            }
            scalar => {
                let value = inline(scalar, self.in_each).expect("an item is a map or a scalar");
                self.line(indent, &format!("- {value}"));
            }
        }
    }
}

/// Whether something is there whatever the settings are.
fn holds<'a>(trees: impl IntoIterator<Item = &'a Tree>) -> bool {
    trees.into_iter().any(|tree| !matches!(tree, Tree::When(..) | Tree::Unless(..)))
}

/// What fits behind a key.
fn inline(tree: &Tree, in_each: bool) -> Option<String> {
    Some(match tree {
        Tree::Scalar(Value::String(text)) => plain_or_quoted(text),
        Tree::Scalar(value) | Tree::Filled(value) => value.to_string(),
        Tree::Hole(expr) => format!("{{{{ {} | toRawJson }}}}", expression(*expr, in_each)),
        Tree::Text(format, exprs) => {
            let format = Value::from(format.replace('%', "%%").replace("{}", "%v"));
            let exprs: Vec<_> = exprs.iter().map(|expr| expression(*expr, in_each)).collect();
            format!("{{{{ printf {format} {} | toRawJson }}}}", exprs.join(" "))
        }
        Tree::Checksum(file) => format!("{{{{ include \"causeway.{}\" . | sha256sum | quote }}}}", file.name),
        _ => return None,
    })
}

fn expression(expr: Expr, in_each: bool) -> String {
    match expr {
        Expr::Setting(path) => setting(path, in_each),
        // A chart that others include is given this one field more.
        Expr::Settings => "omit .Values \"global\"".to_owned(),
        Expr::Count(path) => format!("len {}", setting(path, in_each)),
        Expr::Concat(a, b) => format!("concat {} {}", setting(a, in_each), setting(b, in_each)),
        Expr::Item => ".".to_owned(),
    }
}

fn setting(path: &str, in_each: bool) -> String {
    format!("{}.Values.{path}", if in_each { "$" } else { "" })
}

/// Plain where YAML 1.1 and 1.2 both take it for a text, quoted as in JSON otherwise.
fn plain_or_quoted(text: &str) -> String {
    let mut chars = text.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '/')
        && chars.all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let lower = text.to_ascii_lowercase();
    let is_word = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&lower.as_str());
    if plain && !is_word { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{each, either, item, set, text as format, tree, when};
    use super::*;

    fn check(tree: &Tree, templated: &str, settings: &Value, filled: &str) {
        assert_eq!(text(tree), templated);
        assert_eq!(text(&tree.filled(settings)), filled);
    }

    #[test]
    fn both_ways() {
        let settings = json!({"a": "x y", "n": 7, "none": [], "some": ["p", "q"]});
        let tree = tree!({
            "a": (set("a")),
            "list": [ { "name": (format("{}/{}:80%", ["a", "n"])), "on": "on" }, (when("none", "gone")), 3 ],
            "none": (each("none", tree!({ "item": (item()) }))),
            "some": (each("some", tree!({ "item": (item()), "outside": (set("n")) }))),
            "maybe": (when("some", tree!({ "yes": true }))),
            "which": (either("none", "one", "other")),
        });
        check(
            &tree,
            "\
a: {{ .Values.a | toRawJson }}
list:
- name: {{ printf \"%v/%v:80%%\" .Values.a .Values.n | toRawJson }}
  \"on\": \"on\"
{{- if .Values.none }}
- gone
{{- end }}
- 3
none:
{{- range .Values.none }}
- item: {{ . | toRawJson }}
{{- else }}
  []
{{- end }}
some:
{{- range .Values.some }}
- item: {{ . | toRawJson }}
  outside: {{ $.Values.n | toRawJson }}
{{- else }}
  []
{{- end }}
{{- if .Values.some }}
maybe:
  \"yes\": true
{{- end }}
{{- if .Values.none }}
which: one
{{- else }}
which: other
{{- end }}",
            &settings,
            "\
a: \"x y\"
list:
- name: \"x y/7:80%\"
  \"on\": \"on\"
- 3
none:
  []
some:
- item: \"p\"
  outside: 7
- item: \"q\"
  outside: 7
maybe:
  \"yes\": true
which: other",
        );
        assert_eq!(tree.fill(&settings)["some"][1], json!({"item": "q", "outside": 7}));
    }
}
