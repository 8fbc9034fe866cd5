//! The tree of a YAML document, each node with its place. Built without recursion, within limits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_saphyr::granit_parser::{self, Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::error::{Error, Reason};
use super::scalar::{Meaning, Scalar};

/// The longest text that is read, in bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// The most values in one text, each alias counted as all that it stands for.
pub const MAX_NODES: usize = 1 << 20;
/// The deepest nesting.
pub const MAX_DEPTH: usize = 64;

/// Where something is written, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl From<&Marker> for Place {
    fn from(mark: &Marker) -> Self {
        Self { line: mark.line(), column: mark.col() + 1 }
    }
}

/// One value.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) data: Data,
    /// How many values it is, itself counted.
    weight: usize,
    /// How many levels it has, its own counted.
    depth: usize,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    Scalar(Scalar),
    List(Vec<Arc<Node>>),
    Map(Vec<Entry>),
}

/// One line of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Arc<Node>,
}

impl Node {
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar(scalar) if scalar.meaning() == Meaning::Null)
    }

    /// The value in words, for an error.
    pub(crate) fn words(&self) -> String {
        match &self.data {
            Data::Scalar(scalar) => scalar.meaning().words(),
            Data::List(_) => "a list".into(),
            Data::Map(_) => "a mapping".into(),
        }
    }
}

/// The root of every document of a text.
pub(crate) fn read(file: &str, text: &str) -> Result<Vec<Arc<Node>>, Error> {
    let start = Place { line: 1, column: 1 };
    let fail = |place, reason| Error::new(file, place, String::new(), reason);
    if text.len() > MAX_BYTES {
        return Err(fail(start, Reason::TooLong { bytes: text.len(), limit: MAX_BYTES }));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH + 1,
        block_nesting_limit: MAX_DEPTH + 1,
        // YAML's own 1,024 is less than what JSON that others write may need for a key.
        simple_key_max_lookahead: 16 << 10,
    };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) =
            event.map_err(|error| fail(error.marker().into(), Reason::Syntax(error.kind().to_string())))?;
        builder.take(event, &span).map_err(|(place, reason)| fail(place, reason))?;
    }
    Ok(builder.roots)
}

type Fault = (Place, Reason);

#[derive(Default)]
struct Builder {
    roots: Vec<Arc<Node>>,
    open: Vec<Frame>,
    anchors: HashMap<usize, Arc<Node>>,
    total: usize,
}

/// A list or mapping that is not complete yet.
struct Frame {
    place: Place,
    anchor: usize,
    data: Data,
    /// The key whose value comes next.
    key: Option<(String, Place)>,
    /// The lines of the keys so far.
    seen: BTreeMap<String, usize>,
    weight: usize,
    depth: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let place = Place::from(&span.start);
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let forced = core_tag(tag.as_deref(), place)? == Some("str");
                let plain = style == ScalarStyle::Plain && !forced;
                let data = Data::Scalar(Scalar { text: text.into_owned(), plain });
                self.value(Node { place, data, weight: 1, depth: 1 }, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                core_tag(tag.as_deref(), place)?;
                self.push(place, anchor, Data::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                core_tag(tag.as_deref(), place)?;
                self.push(place, anchor, Data::Map(Vec::new()))?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Frame { place, anchor, data, weight, depth, .. } =
                    self.open.pop().expect("the parser closes only what it opened");
                self.total -= weight; // counted again as one value
                self.value(Node { place, data, weight, depth }, anchor)?;
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node = node.ok_or_else(|| (place, unsupported("an alias inside its own anchor")))?;
                self.add(node, place)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, place: Place, anchor: usize, data: Data) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err((place, Reason::TooDeep { limit: MAX_DEPTH }));
        }
        self.total += 1;
        self.open.push(Frame { place, anchor, data, key: None, seen: BTreeMap::new(), weight: 1, depth: 1 });
        Ok(())
    }

    fn value(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        let place = node.place;
        let node = Arc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.add(node, place)
    }

    /// Puts a complete value where it belongs.
    fn add(&mut self, node: Arc<Node>, place: Place) -> Result<(), Fault> {
        self.total += node.weight;
        if self.total > MAX_NODES {
            return Err((place, Reason::TooMany { limit: MAX_NODES }));
        }
        if self.open.len() + node.depth > MAX_DEPTH {
            return Err((place, Reason::TooDeep { limit: MAX_DEPTH }));
        }
        let Some(frame) = self.open.last_mut() else {
            self.roots.push(node);
            return Ok(());
        };
        frame.weight += node.weight;
        frame.depth = frame.depth.max(node.depth + 1);
        match &mut frame.data {
            Data::List(items) => items.push(node),
            Data::Map(entries) => match frame.key.take() {
                None => frame.key = Some(key(&node, place, &mut frame.seen)?),
                Some((key, place)) => entries.push(Entry { key, place, value: node }),
            },
            Data::Scalar(_) => unreachable!("only lists and mappings are opened"),
        }
        Ok(())
    }
}

/// A mapping's key, which must be text and new.
fn key(node: &Node, place: Place, seen: &mut BTreeMap<String, usize>) -> Result<(String, Place), Fault> {
    let Data::Scalar(scalar) = &node.data else {
        return Err((
            place,
            Reason::Unsupported { what: "a list or mapping as a key".into(), instead: "text" },
        ));
    };
    if scalar.plain && scalar.text == "<<" {
        return Err((place, unsupported("a merge key `<<`")));
    }
    if let Some(first) = seen.insert(scalar.text.clone(), place.line) {
        return Err((place, Reason::Duplicate { key: scalar.text.clone(), first }));
    }
    Ok((scalar.text.clone(), place))
}

fn unsupported(what: &str) -> Reason {
    Reason::Unsupported { what: what.into(), instead: "the fields out" }
}

/// The name of a tag of YAML's core schema; other tags would need a meaning that nobody gave them.
fn core_tag(tag: Option<&Tag>, place: Place) -> Result<Option<&str>, Fault> {
    let Some(tag) = tag else { return Ok(None) };
    tag.core_suffix().map(Some).ok_or_else(|| {
        let what = format!("the tag `{}`", tag.original());
        (place, Reason::Unsupported { what, instead: "the value without a tag" })
    })
}
