//! Good texts and bad ones, with the exact message for each bad one.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{MAX_DEPTH, MAX_NODES, Reason, parse};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Lab {
    name: String,
    #[serde(default)]
    replicas: u16,
    #[serde(default)]
    global: bool,
    #[serde(default)]
    pod_cidrs: Vec<ipnet::IpNet>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    mode: Mode,
    inner: Option<Box<Lab>>,
    #[serde(default)]
    share: f64,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Full,
    Partial(u8),
}

fn message(text: &str) -> String {
    parse::<Lab>("lab.yaml", text).expect_err(text).to_string()
}

#[test]
fn good() {
    let text = "\u{feff}# a comment\n---\n---\nname: 'no'\nreplicas: 3\nglobal: true\npodCIDRs: [10.1.0.0/16]\n\
                labels: {1: \"2\", no: x}\nmode: {partial: 4}\ninner: {name: b, inner: ~}\nshare: 1\n---\n\
                {\"name\": \"c\", \"share\": 1e-3}\n...\n";
    // camelCase of serde says podCidrs; both documents are read.
    let text = text.replace("podCIDRs", "podCidrs");
    let labs = parse::<Lab>("lab.yaml", &text).unwrap();
    assert_eq!(labs.len(), 2);
    let first = &labs[0].value;
    assert_eq!((first.name.as_str(), first.replicas, first.global), ("no", 3, true));
    assert_eq!((first.labels["1"].as_str(), first.labels["no"].as_str()), ("2", "x"));
    assert_eq!(first.mode, Mode::Partial(4));
    assert_eq!(first.inner.as_ref().unwrap().name, "b");
    assert_eq!((labs[0].line(), labs[1].line()), (4, 13));
    assert_eq!(labs[1].value.share, 0.001);
    assert!(parse::<Lab>("lab.yaml", "# nothing\n").unwrap().is_empty());
}

#[test]
fn aliases_are_values() {
    let labs = parse::<Lab>("x", "name: a\nlabels: &l {k: v}\ninner:\n  name: b\n  labels: *l\n").unwrap();
    assert_eq!(labs[0].value.inner.as_ref().unwrap().labels, labs[0].value.labels);
}

#[test]
fn bad() {
    for (text, expected) in [
        ("name: a\nreplica: 3", "lab.yaml:2:1: replica: unknown field `replica`; did you mean `replicas`?"),
        (
            "name: a\ninner:\n  name: b\n  zzzzz: 1",
            "lab.yaml:4:3: inner.zzzzz: unknown field `zzzzz`; write one of `name`, `replicas`, `global`, \
             `podCidrs`, `labels`, `mode`, `inner`, `share`",
        ),
        (
            "name: a\nreplicas: '3'",
            "lab.yaml:2:11: replicas: expected a whole number, found the text \"3\"; write it without quotes: 3",
        ),
        (
            "name: a\nreplicas: 70000",
            "lab.yaml:2:11: replicas: 70000 is out of range; write a whole number from 0 to 65535",
        ),
        (
            "name: 8080",
            "lab.yaml:1:7: name: expected text, found the number 8080; write it in quotes: \"8080\"",
        ),
        (
            "name: no",
            "lab.yaml:1:7: name: expected text, found an unquoted word that Kubernetes reads as the boolean false; \
             write it in quotes: \"no\"",
        ),
        (
            "name:\nreplicas: 1",
            "lab.yaml:1:5: name: expected text, found nothing; write text, in \"quotes\" if in doubt",
        ),
        ("name: a\nname: b", "lab.yaml:2:1: `name` is written twice, first in line 1; write it once"),
        ("replicas: 1", "lab.yaml:1:1: `name` is missing; write `name: …` here"),
        ("name: a\n---\nreplicas: 1", "lab.yaml:3:1: `name` is missing; write `name: …` here"),
        (
            "name: a\nglobal: yes",
            "lab.yaml:2:9: global: expected true or false, found an unquoted word that Kubernetes reads as the \
             boolean true; write true",
        ),
        (
            "name: a\nglobal: \"true\"",
            "lab.yaml:2:9: global: expected true or false, found the text \"true\"; write true without quotes",
        ),
        (
            "name: a\npodCidrs: [10.0.0.0/8, 10.0.0.0/33]",
            "lab.yaml:2:24: podCidrs[1]: invalid IP address syntax",
        ),
        (
            "name: a\npodCidrs: 10.0.0.0/8",
            "lab.yaml:2:11: podCidrs: expected a list, found the text \"10.0.0.0/8\"; write each item on a line of \
             its own behind `- `, or `[]` for none",
        ),
        (
            "name: a\nlabels:\n  a.b/c: 1",
            "lab.yaml:3:10: labels[\"a.b/c\"]: expected text, found the number 1; write it in quotes: \"1\"",
        ),
        (
            "- name: a",
            "lab.yaml:1:1: expected a mapping, found a list; write `field: value` lines with fields such as `name` \
             and `share`",
        ),
        ("name: a\nmode: ful", "lab.yaml:2:7: mode: unknown value `ful`; did you mean `full`?"),
        (
            "name: a\nmode: partial",
            "lab.yaml:2:7: mode: expected `partial` with a value, found the word alone; write `partial: …`",
        ),
        (
            "name: !secret a",
            "lab.yaml:1:15: the tag `!secret` is not supported; write the value without a tag",
        ),
        ("base: &b {x: 1}\n<<: *b", "lab.yaml:2:1: a merge key `<<` is not supported; write the fields out"),
        ("? [a]\n: b", "lab.yaml:1:3: a list or mapping as a key is not supported; write text"),
        ("&a [*a]", "lab.yaml:1:5: an alias inside its own anchor is not supported; write the fields out"),
    ] {
        assert_eq!(message(text), expected, "for {text:?}");
    }
}

#[test]
fn not_yaml_at_all() {
    for (text, line) in [("name: a\n\tb: c", 2), ("name: [a", 1), ("name: \"a", 1), ("a: b: c", 1), ("*a", 1)]
    {
        let error = parse::<Lab>("lab.yaml", text).expect_err(text);
        assert!(matches!(*error.reason, Reason::Syntax(_)), "{error}");
        assert!(error.line.abs_diff(line) <= 1, "{error}");
    }
}

#[test]
fn limits() {
    let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
    let error = parse::<Lab>("x", &deep).unwrap_err();
    assert!(matches!(*error.reason, Reason::TooDeep { .. } | Reason::Syntax(_)), "{error}");

    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let alias = format!("*a{}", n - 1);
        laughs += &format!("a{n}: &a{n} [{}]\n", [alias.as_str(); 10].join(", "));
    }
    assert_eq!(
        parse::<Lab>("x", &laughs).unwrap_err().reason.as_ref(),
        &Reason::TooMany { limit: MAX_NODES }
    );

    // Depth hidden behind aliases counts too.
    let mut stairs = String::from("a0: &a0 [x]\n");
    for n in 1..=MAX_DEPTH {
        stairs += &format!("a{n}: &a{n} [*a{}]\n", n - 1);
    }
    assert_eq!(
        parse::<Lab>("x", &stairs).unwrap_err().reason.as_ref(),
        &Reason::TooDeep { limit: MAX_DEPTH }
    );
}

#[test]
fn semantic_errors_find_their_line() {
    let text = "name: a\ninner:\n  name: b\n  labels:\n    causeway.io/global: \"true\"\npodCidrs:\n- 10.0.0.0/8\n- 10.0.0.0/9\n";
    let lab = parse::<Lab>("lab.yaml", text).unwrap().remove(0);
    for (path, place) in [
        ("", "lab.yaml:1:1: wrong; write right"),
        ("podCidrs[1]", "lab.yaml:8:3: podCidrs[1]: wrong; write right"),
        ("inner.name", "lab.yaml:3:9: inner.name: wrong; write right"),
        (
            "inner.labels[\"causeway.io/global\"]",
            "lab.yaml:5:25: inner.labels[\"causeway.io/global\"]: wrong; write right",
        ),
        ("inner.mode", "lab.yaml:3:3: inner.mode: wrong; write right"),
        ("podCidrs[7].x", "lab.yaml:7:3: podCidrs[7].x: wrong; write right"),
    ] {
        assert_eq!(lab.error(path, "wrong", "right").to_string(), place);
    }
    assert!(lab.has("inner.labels") && !lab.has("inner.inner"));
    assert_eq!(lab.line_of("podCidrs[0]"), 7);
}
