//! YAML as a tree of values with their places, read within budgets.

use crate::{
    Code, Diagnostic, codes,
    diagnostic::{lines, quote},
};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span as Parsed};
use std::collections::{HashMap, HashSet};

/// The bytes of a file that are read: who reads one needs no more than one byte past them.
pub const LARGEST: usize = 1024 * 1024;
/// Levels of nesting. Everything that walks a tree is recursive, and this keeps it off the stack's end.
const DEPTH: usize = 64;
/// Values, and bytes of their text, once aliases are followed.
const BUDGET: Measure = Measure { nodes: 20_000, bytes: 4 * LARGEST, height: DEPTH };

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

impl Span {
    pub(crate) fn error(self, code: Code, message: impl Into<String>, hint: impl Into<String>) -> Diagnostic {
        let Self { line, column, length } = self;
        Diagnostic { code, message: message.into(), line, column, length, hint: hint.into() }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub span: Span,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A scalar that may be more than text: a number, a truth, nothing.
    Plain(String),
    /// A scalar in quotes or a block: text, whatever it looks like.
    Quoted(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Whether it says that there is nothing.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Plain(text) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// A scalar as written.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Plain(text) | Value::Quoted(text) if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// Where a part of a scalar stands; the scalar's own place if it is not written as it is read.
    pub(crate) fn part(&self, part: &str) -> Span {
        let Some(text) = self.scalar() else { return self.span };
        let quotes = usize::from(matches!(self.value, Value::Quoted(_)));
        match text.find(part) {
            Some(at) if self.span.length == text.chars().count() + 2 * quotes => Span {
                column: self.span.column + quotes + text[..at].chars().count(),
                length: part.chars().count(),
                ..self.span
            },
            _ => self.span,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            _ if self.is_null() => "empty",
            Value::Plain(..) | Value::Quoted(..) => "one value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// What a value costs.
#[derive(Clone, Copy)]
struct Measure {
    nodes: usize,
    bytes: usize,
    height: usize,
}

impl Measure {
    /// Bounded by the budgets: what is measured has been within them.
    fn of(node: &Node) -> Self {
        let (bytes, inner): (usize, Vec<&Node>) = match &node.value {
            Value::Plain(text) | Value::Quoted(text) => return Self { nodes: 1, bytes: text.len(), height: 0 },
            Value::List(list) => (0, list.iter().collect()),
            Value::Map(map) => (0, map.iter().flat_map(|(key, value)| [key, value]).collect()),
        };
        inner.into_iter().map(Self::of).fold(Self { nodes: 1, bytes, height: 1 }, |sum, part| Self {
            nodes: sum.nodes + part.nodes,
            bytes: sum.bytes + part.bytes,
            height: sum.height.max(part.height + 1),
        })
    }
}

pub(crate) const TOP: Span = Span { line: 1, column: 1, length: 1 };

/// The text of a file's bytes.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Diagnostic> {
    if bytes.len() > LARGEST {
        let message = "the file is longer than 1 MiB";
        return Err(TOP.error(codes::TOO_LARGE, message, "keep generated data in files of its own"));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let at = |index: usize| {
        let before = String::from_utf8_lossy(&bytes[..index]);
        let begun = before.rfind(['\n', '\r']).map_or(0, |end| end + 1);
        let whole = before.is_empty() || before.ends_with(['\n', '\r']);
        let line = lines(&before).count() + usize::from(whole);
        Span { line, column: before[begun..].chars().count() + 1, length: 1 }
    };
    let hint = "save the file as UTF-8 text";
    let text = std::str::from_utf8(bytes)
        .map_err(|error| at(error.valid_up_to()).error(codes::NOT_TEXT, "the file is not UTF-8", hint))?;
    match text.find('\0') {
        Some(index) => Err(at(index).error(codes::NOT_TEXT, "the file holds a NUL", hint)),
        None => Ok(text),
    }
}

/// The tree of the only document, if there is one, and what is wrong with it. Keys given twice do not end the reading.
pub(crate) fn read(text: &str) -> (Option<Node>, Vec<Diagnostic>) {
    let mut builder = Builder { lines: lines(text).collect(), ..Builder::default() };
    let options = granit_parser::options! { emit_unresolved_aliases: true };
    for next in Parser::new_from_str_with_options(text, options) {
        let done = match next {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(builder.syntax(&error)),
        };
        if let Err(error) = done {
            builder.errors.push(error);
            return (None, builder.errors);
        }
    }
    if builder.document.is_none() {
        builder.errors.push(empty(TOP));
    }
    (builder.document, builder.errors)
}

pub(crate) fn empty(span: Span) -> Diagnostic {
    span.error(codes::EMPTY, "the file is empty", "`davy init` writes a file to start from")
}

#[derive(Default)]
struct Builder<'a> {
    lines: Vec<&'a str>,
    stack: Vec<Open>,
    document: Option<Node>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    bytes: usize,
    documents: usize,
    errors: Vec<Diagnostic>,
}

/// A list or a mapping whose end is still to come.
struct Open {
    span: Span,
    anchor: usize,
    list: Vec<Node>,
    /// The key that waits for its value, in a mapping.
    key: Option<Node>,
    map: Option<Vec<(Node, Node)>>,
    /// The keys so far.
    seen: HashSet<String>,
}

impl Builder<'_> {
    fn place(&self, line: usize, column: usize, length: usize) -> Span {
        Span { line: line.clamp(1, self.lines.len().max(1)), column: column + 1, length: length.max(1) }
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let mut place = self.place(error.marker().line(), error.marker().col(), 1);
        match error.kind() {
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar => {
                let tab = self.lines.get(place.line - 1).and_then(|line| line.find('\t'));
                place.column = tab.map_or(place.column, |tab| tab + 1).min(place.column);
                place.error(codes::TAB, "a tab is used for indentation", "use two spaces instead of each tab")
            }
            ErrorKind::RecursionLimitExceeded => deep(place),
            _ => place.error(
                codes::SYNTAX,
                format!("this is not YAML: {}", error.info()),
                "look at the indentation, quotes and brackets here and just before",
            ),
        }
    }

    fn event(&mut self, event: Event<'_>, span: Parsed) -> Result<(), Diagnostic> {
        let same_line = span.start.line() == span.end.line();
        let length = if same_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
        let place = self.place(span.start.line(), span.start.col(), length);
        if let Some(tag) = event.tag() {
            let message = format!("the tag {} is not read", quote(&tag.original()));
            let place = span.tag_span().map_or(place, |tag| self.place(tag.start.line(), tag.start.col(), tag.len()));
            self.errors.push(place.error(codes::TAG, message, "remove it; put a text that looks otherwise in quotes"));
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let hint = "remove the `---` and what follows";
                    return Err(place.error(codes::DOCUMENTS, "a second document begins here", hint));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, _) => {
                let cost = Measure { nodes: 1, bytes: text.len(), height: 0 };
                let text = text.into_owned();
                let value = if style == ScalarStyle::Plain { Value::Plain(text) } else { Value::Quoted(text) };
                self.add(Node { span: place, value }, anchor, cost)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(known) => {
                    let cost = Measure::of(known);
                    let node = Node { span: place, value: known.value.clone() };
                    self.add(node, 0, cost)
                }
                None => self.alias(place, "it is part of itself"),
            },
            Event::UnresolvedAlias(_) => self.alias(place, "there is no such anchor before it"),
            Event::SequenceStart(_, anchor, _) => self.open(place, anchor, None),
            Event::MappingStart(_, anchor, _) => self.open(place, anchor, Some(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return Ok(()) };
                let value = match open.map {
                    Some(map) => Value::Map(map),
                    None => Value::List(open.list),
                };
                self.add(Node { span: open.span, value }, open.anchor, Measure { nodes: 1, bytes: 0, height: 0 })
            }
            _ => Ok(()),
        }
    }

    fn alias(&mut self, place: Span, why: &str) -> Result<(), Diagnostic> {
        let hint =
            "write the value itself, or `&name` before the first of them; a text that begins with * stands in quotes";
        Err(place.error(codes::ALIAS, format!("the alias stands for nothing: {why}"), hint))
    }

    fn open(&mut self, span: Span, anchor: usize, map: Option<Vec<(Node, Node)>>) -> Result<(), Diagnostic> {
        if self.stack.len() >= BUDGET.height {
            return Err(deep(span));
        }
        self.stack.push(Open { span, anchor, list: Vec::new(), key: None, map, seen: HashSet::new() });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize, cost: Measure) -> Result<(), Diagnostic> {
        self.nodes = self.nodes.saturating_add(cost.nodes);
        self.bytes = self.bytes.saturating_add(cost.bytes);
        if self.nodes > BUDGET.nodes || self.bytes > BUDGET.bytes {
            let message = format!("the file has more than {} values once its aliases are followed", BUDGET.nodes);
            return Err(node.span.error(codes::TOO_MANY, message, "use fewer aliases and shorter lists"));
        }
        if self.stack.len() + cost.height > BUDGET.height {
            return Err(deep(node.span));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.document = Some(node);
            return Ok(());
        };
        let Some(map) = &mut open.map else {
            open.list.push(node);
            return Ok(());
        };
        let Some(key) = open.key.take() else {
            open.key = Some(node);
            return Ok(());
        };
        match key.scalar() {
            Some(name) if !open.seen.insert(name.to_owned()) => {
                let first = map.iter().find(|(known, _)| known.scalar() == Some(name));
                let line = first.map_or(1, |(known, _)| known.span.line);
                let message = format!("{} is given twice, first in line {line}", quote(name));
                self.errors.push(key.span.error(codes::DUPLICATE, message, "remove one of the two"));
            }
            _ => map.push((key, node)),
        }
        Ok(())
    }
}

fn deep(span: Span) -> Diagnostic {
    let message = format!("this is nested more than {DEPTH} levels deep");
    span.error(codes::TOO_DEEP, message, "nothing in a davy.yaml is; see `davy config schema`")
}
