//! The Rust half of `bpf/abi.h`.
//!
//! Reads the small part of C that the header is written in (numeric macros, structs of fixed-width fields, one enum,
//! a comment before each) and refuses anything else by panicking: the header is ours, and a person is looking.

use std::fmt::Write as _;
use std::path::Path;

/// Where the header is, below the root of the repository.
pub(crate) const SOURCE: &str = "bpf/abi.h";
/// Where the generated file belongs, below the root of the repository.
pub(crate) const TARGET: &str = "crates/kernel/src/bpf/abi.rs";
/// Where the reasons belong.
pub(crate) const REASONS: &str = "crates/kernel/src/bpf/abi/reason.rs";
/// Where the numbers belong.
pub(crate) const CONSTANTS: &str = "crates/kernel/src/bpf/abi/constants.rs";
/// Where the table of reasons belongs, below the root of the repository.
pub(crate) const TABLE: &str = "docs/reasons.md";

const HEAD: &str = "\
//! What the programs in `bpf/` and the agent say to each other. Generated from bpf/abi.h by `./x generate`: do not edit.

use core::mem::offset_of;

use super::bytes::{Be16, Be32, StructLayout};

mod constants;
mod reason;

pub use constants::*;
pub use reason::Reason;
";

const CONSTANTS_HEAD: &str = "\
//! Numbers that both sides know. Generated from bpf/abi.h by `./x generate`: do not edit.
";

const REASONS_HEAD: &str = "\
//! Every way out of a program. Generated from bpf/abi.h by `./x generate`: do not edit.

use super::super::bytes::Verdict;
";

const TABLE_HEAD: &str = "\
<!-- Generated from bpf/abi.h by `./x generate`: do not edit. -->
# Reasons

Every way out of an eBPF program has a number and a name. `causeway_datapath_events_total{reason}` counts them.

| number | reason | verdict | what it means |
|---|---|---|---|
";

/// The text of [`TARGET`], from the header in this repository.
pub(crate) fn generate(repo_root: &Path) -> String {
    read(repo_root).to_rust()
}

/// The text of [`CONSTANTS`], from the header in this repository.
pub(crate) fn generate_constants(repo_root: &Path) -> String {
    read(repo_root).to_constants()
}

/// The text of [`REASONS`], from the header in this repository.
pub(crate) fn generate_reasons(repo_root: &Path) -> String {
    read(repo_root).to_reasons()
}

/// The text of [`TABLE`], from the header in this repository.
pub(crate) fn generate_table(repo_root: &Path) -> String {
    read(repo_root).to_table()
}

fn read(repo_root: &Path) -> Header {
    let path = repo_root.join(SOURCE);
    let text =
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    Header::parse(&text)
}

#[derive(Debug, Default, PartialEq)]
struct Header {
    constants: Vec<(String, u64, String)>,
    structs: Vec<Struct>,
    reasons: Vec<Reason>,
}

#[derive(Debug, PartialEq)]
struct Struct {
    name: String,
    about: String,
    fields: Vec<Field>,
}

#[derive(Debug, PartialEq)]
struct Field {
    name: String,
    kind: String,
    count: Option<String>,
    about: String,
}

#[derive(Debug, PartialEq)]
struct Reason {
    name: String,
    number: u64,
    about: String,
}

impl Header {
    fn parse(text: &str) -> Self {
        let mut header = Self::default();
        let mut about = String::new();
        let mut lines = text.lines().map(str::trim).peekable();
        while let Some(line) = lines.next() {
            if line.starts_with("/*") {
                about = comment(line, &mut lines);
            } else if let Some(rest) = line.strip_prefix("#define CW_") {
                let (name, value) =
                    rest.split_once(' ').unwrap_or_else(|| panic!("a macro without a value: {line}"));
                header.constants.push((name.to_owned(), number(value), std::mem::take(&mut about)));
            } else if let Some(rest) = line.strip_prefix("struct cw_") {
                let name =
                    rest.strip_suffix(" {").unwrap_or_else(|| panic!("not the start of a struct: {line}"));
                let about = std::mem::take(&mut about);
                let fields = body(&mut lines).into_iter().map(|(line, about)| field(&line, about)).collect();
                header.structs.push(Struct { name: name.to_owned(), about, fields });
            } else if line == "enum cw_reason {" {
                header.reasons =
                    body(&mut lines).into_iter().map(|(line, about)| reason(&line, about)).collect();
            } else if !(line.is_empty() || line == "#pragma once" || line.starts_with("#include")) {
                panic!("{SOURCE}: cannot read this line: {line}");
            }
        }
        header
    }

    fn to_rust(&self) -> String {
        let mut out = HEAD.to_owned();
        for s in &self.structs {
            out.push_str(&s.to_rust());
        }
        self.write_layouts(&mut out);
        out
    }

    fn to_constants(&self) -> String {
        let mut out = CONSTANTS_HEAD.to_owned();
        for (name, value, about) in &self.constants {
            write!(out, "\n/// {about}\npub const {name}: usize = {value};\n").expect("a string takes all");
        }
        out
    }

    fn to_reasons(&self) -> String {
        let mut out = REASONS_HEAD.to_owned();
        self.write_reasons(&mut out);
        out
    }

    fn to_table(&self) -> String {
        let mut out = TABLE_HEAD.to_owned();
        for r in self.reasons.iter().filter(|r| r.name != "REASONS") {
            let (verdict, about) = r.verdict();
            writeln!(out, "| {} | `{}` | {verdict} | {about} |", r.number, r.name.to_lowercase())
                .expect("a string takes all");
        }
        out
    }

    fn write_layouts(&self, out: &mut String) {
        out.push_str("\n/// Sizes and offsets of everything above, by their names in C.\n#[rustfmt::skip]\n");
        out.push_str("pub const LAYOUTS: &[StructLayout] = &[\n");
        for s in &self.structs {
            let rust = camel(&s.name);
            let offset = |f: &Field| format!("(\"{0}\", offset_of!({rust}, {0}))", f.name);
            let fields: Vec<String> = s.fields.iter().map(offset).collect();
            let (name, fields) = (&s.name, fields.join(", "));
            writeln!(
                out,
                "    StructLayout {{ name: \"cw_{name}\", size: size_of::<{rust}>(), fields: &[{fields}] }},"
            )
            .expect("a string takes all");
        }
        out.push_str("];\n");
    }

    fn write_reasons(&self, out: &mut String) {
        let (count, reasons) = self.reasons.split_last().expect("the last one says how many there are");
        assert!(
            count.name == "REASONS" && count.number == reasons.len() as u64,
            "CW_REASONS does not count the reasons before it"
        );
        out.push_str("\n/// Why a packet or a connection went the way it did.\n#[repr(u32)]\n");
        out.push_str(
            "#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub enum Reason {\n",
        );
        for r in reasons {
            let (verdict, about) = r.verdict();
            writeln!(
                out,
                "    /// {verdict}: {about}\n    {} = {},",
                camel(&r.name.to_lowercase()),
                r.number
            )
            .expect("a string takes all");
        }
        out.push_str(
            "}\n\n#[rustfmt::skip]\nimpl Reason {\n    /// Every reason, in the order of their numbers.\n",
        );
        let all: Vec<String> =
            reasons.iter().map(|r| format!("        Self::{},\n", camel(&r.name.to_lowercase()))).collect();
        writeln!(out, "    pub const ALL: [Self; {}] = [\n{}    ];", reasons.len(), all.concat())
            .expect("a string takes all");
        method(out, "What metrics call it.", "name", "&'static str", reasons, |r| {
            format!("\"{}\"", r.name.to_lowercase())
        });
        method(out, "What became of it.", "verdict", "Verdict", reasons, |r| {
            format!("Verdict::{}", camel(r.verdict().0))
        });
        method(out, "What it means, in a sentence.", "about", "&'static str", reasons, |r| {
            format!("\"{}\"", r.verdict().1)
        });
        out.push_str("}\n");
    }
}

fn method(
    out: &mut String,
    about: &str,
    name: &str,
    kind: &str,
    all: &[Reason],
    value: impl Fn(&Reason) -> String,
) {
    write!(out, "\n    /// {about}\n    pub const fn {name}(self) -> {kind} {{\n        match self {{\n")
        .expect("a string takes all");
    for r in all {
        writeln!(out, "            Self::{} => {},", camel(&r.name.to_lowercase()), value(r))
            .expect("a string takes all");
    }
    out.push_str("        }\n    }\n");
}

impl Struct {
    fn to_rust(&self) -> String {
        let name = camel(&self.name);
        let mut out = format!("\n/// {}\n#[repr(C)]\n", self.about);
        out.push_str("#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]\n");
        writeln!(out, "pub struct {name} {{").expect("a string takes all");
        for field in &self.fields {
            writeln!(out, "    /// {}\n    pub {}: {},", field.about, field.name, field.to_rust())
                .expect("a string takes all");
        }
        out.push_str("}\n// SAFETY: integers without gaps (abi.h spells its padding out, and a test adds the sizes up).\n");
        writeln!(out, "unsafe impl aya::Pod for {name} {{}}").expect("a string takes all");
        out
    }
}

impl Field {
    fn to_rust(&self) -> String {
        let kind = match self.kind.as_str() {
            "__u8" => "u8".to_owned(),
            "__u16" => "u16".to_owned(),
            "__u32" => "u32".to_owned(),
            "__u64" => "u64".to_owned(),
            "__be16" => "Be16".to_owned(),
            "__be32" => "Be32".to_owned(),
            other => {
                camel(other.strip_prefix("struct cw_").unwrap_or_else(|| panic!("unknown type {other}")))
            }
        };
        match &self.count {
            Some(count) => format!("[{kind}; {}]", count.trim_start_matches("CW_")),
            None => kind,
        }
    }
}

impl Reason {
    fn verdict(&self) -> (&str, &str) {
        self.about
            .split_once(": ")
            .unwrap_or_else(|| panic!("CW_{}: the comment starts with no verdict", self.name))
    }
}

/// The text of a comment that starts on this line, in one line.
fn comment<'a>(first: &'a str, lines: &mut impl Iterator<Item = &'a str>) -> String {
    let mut words = vec![first.trim_start_matches("/*")];
    while !words[words.len() - 1].ends_with("*/") {
        let line = lines.next().expect("a comment ends");
        words.push(if line == "*/" { line } else { line.trim_start_matches('*') });
    }
    words.iter().map(|w| w.trim_end_matches("*/").trim()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// The lines of a block up to its end, each with the comment before it.
fn body<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut about = String::new();
    while let Some(line) = lines.next() {
        match line {
            "};" => return out,
            "" => {}
            _ if line.starts_with("/*") => about = comment(line, lines),
            _ => {
                assert!(!about.is_empty(), "{SOURCE}: no comment before: {line}");
                out.push((line.to_owned(), std::mem::take(&mut about)));
            }
        }
    }
    panic!("{SOURCE}: a block without an end");
}

fn field(line: &str, about: String) -> Field {
    let line = line.strip_suffix(';').unwrap_or_else(|| panic!("not a field: {line}"));
    let (kind, name) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a field: {line}"));
    let (name, count) = match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
        Some((name, count)) => (name, Some(count.to_owned())),
        None => (name, None),
    };
    Field { name: name.to_owned(), kind: kind.to_owned(), count, about }
}

fn reason(line: &str, about: String) -> Reason {
    let (name, value) = line
        .strip_prefix("CW_")
        .and_then(|l| l.strip_suffix(','))
        .and_then(|l| l.split_once(" = "))
        .unwrap_or_else(|| panic!("not a numbered reason: {line}"));
    Reason { name: name.to_owned(), number: number(value), about }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn camel(snake: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    snake.split('_').map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "\
/* How many. */
#define CW_TWO 2

/* A pair,
 * of sorts. */
struct cw_odd_pair {
	/* Left. */
	__be32 left[CW_TWO];
	/* Right. */
	struct cw_other right;
};

enum cw_reason {
	/* drop: no. */
	CW_NOT_NOW = 0,
	/* How many reasons there are. */
	CW_REASONS = 1,
};
";

    #[test]
    fn reads_what_it_writes() {
        let header = Header::parse(SMALL);
        let rust = header.to_constants() + &header.to_rust() + &header.to_reasons();
        for part in [
            "/// How many.\npub const TWO: usize = 2;",
            "/// A pair, of sorts.\n#[repr(C)]",
            "pub struct OddPair {\n    /// Left.\n    pub left: [Be32; TWO],\n    /// Right.\n    pub right: Other,\n}",
            "(\"right\", offset_of!(OddPair, right))",
            "    /// drop: no.\n    NotNow = 0,",
            "Self::NotNow => \"not_now\",",
            "Self::NotNow => Verdict::Drop,",
            "Self::NotNow => \"no.\",",
        ] {
            assert!(rust.contains(part), "missing: {part}\nin: {rust}");
        }
    }

    #[test]
    fn tables_reasons() {
        let table = Header::parse(SMALL).to_table();
        assert!(table.ends_with("|\n| 0 | `not_now` | drop | no. |\n"), "{table}");
    }

    #[test]
    #[should_panic(expected = "cannot read this line")]
    fn refuses_what_it_does_not_know() {
        Header::parse("union cw_x {\n");
    }

    #[test]
    #[should_panic(expected = "does not count the reasons")]
    fn refuses_a_wrong_count() {
        Header::parse(&SMALL.replace("CW_REASONS = 1", "CW_REASONS = 3")).to_reasons();
    }
}
