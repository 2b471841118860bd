//! YAML as a tree of values with their places, read within budgets.

use crate::{Code, Diagnostic, codes};
use granit_parser::{Event, Parser, ScalarStyle, Span as Parsed};
use std::collections::HashMap;

/// Bytes of a file.
pub(crate) const SIZE: usize = 1024 * 1024;
const DEPTH: usize = 64;
const NODES: usize = 20_000;

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
    /// A scalar as written, and whether it was quoted.
    Text(String, bool),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Whether it says that there is nothing.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Text(text, false) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    pub(crate) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(..) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

const TOP: Span = Span { line: 1, column: 1, length: 1 };

/// The text of a file's bytes.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Diagnostic> {
    if bytes.len() > SIZE {
        let message = format!("the file is {} bytes long; {SIZE} are read", bytes.len());
        return Err(TOP.error(codes::TOO_LARGE, message, "keep generated data in files of its own"));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let at = |index: usize| {
        let before = &bytes[..index];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Span { line, column: 1, length: 1 }
    };
    let hint = "save the file as UTF-8 text";
    let text = std::str::from_utf8(bytes)
        .map_err(|error| at(error.valid_up_to()).error(codes::NOT_TEXT, "the file is not UTF-8", hint))?;
    match text.find('\0') {
        Some(index) => Err(at(index).error(codes::NOT_TEXT, "the file holds a NUL", hint)),
        None => Ok(text),
    }
}

/// The tree of the only document.
pub(crate) fn read(text: &str) -> Result<Node, Diagnostic> {
    let mut builder = Builder { lines: text.lines().count().max(1), ..Builder::default() };
    for (number, line) in text.lines().enumerate() {
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(column) = line[..indentation].find('\t').filter(|_| indentation < line.len()) {
            let span = Span { line: number + 1, column: column + 1, length: 1 };
            return Err(span.error(codes::TAB, "a tab is used for indentation", "use two spaces instead of each tab"));
        }
    }
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| {
            let span = builder.place(error.marker().line(), error.marker().col(), 1);
            let why = error.to_string();
            // The scanner looks ahead and has a limit of its own.
            match why.contains("recursion limit") {
                true => too_deep(span),
                false => span.error(
                    codes::SYNTAX,
                    format!("this is not YAML: {why}"),
                    "look at the indentation, quotes and brackets here",
                ),
            }
        })?;
        builder.event(event, span)?;
    }
    builder
        .document
        .ok_or_else(|| TOP.error(codes::EMPTY, "the file is empty", "`davy init` writes a file to start from"))
}

fn too_deep(span: Span) -> Diagnostic {
    let message = format!("this is nested more than {DEPTH} levels deep");
    span.error(codes::TOO_DEEP, message, "nothing in a davy.yaml is; see `davy config schema`")
}

#[derive(Default)]
struct Builder {
    lines: usize,
    stack: Vec<Open>,
    document: Option<Node>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    documents: usize,
}

struct Open {
    span: Span,
    anchor: usize,
    list: Vec<Node>,
    /// The key that waits for its value, in a mapping.
    key: Option<Node>,
    map: Option<Vec<(Node, Node)>>,
}

impl Builder {
    fn place(&self, line: usize, column: usize, length: usize) -> Span {
        Span { line: line.clamp(1, self.lines), column: column + 1, length: length.max(1) }
    }

    fn event(&mut self, event: Event<'_>, span: Parsed) -> Result<(), Diagnostic> {
        let same_line = span.start.line() == span.end.line();
        let length = if same_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
        let place = self.place(span.start.line(), span.start.col(), length);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(place.error(
                        codes::DOCUMENTS,
                        "a second document begins here",
                        "remove the `---` and what follows",
                    ));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Text(text.into_owned(), style != ScalarStyle::Plain);
                self.add(Node { span: place, value }, anchor, 1)
            }
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).cloned();
                let node = known.ok_or_else(|| {
                    place.error(
                        codes::SYNTAX,
                        "this alias stands for nothing",
                        "name an anchor that is complete before it",
                    )
                })?;
                let size = size(&node);
                self.add(Node { span: place, ..node }, 0, size)
            }
            Event::SequenceStart(_, anchor, _) => self.open(place, anchor, false),
            Event::MappingStart(_, anchor, _) => self.open(place, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return Ok(()) };
                let value = match open.map {
                    Some(map) => Value::Map(map),
                    None => Value::List(open.list),
                };
                self.add(Node { span: open.span, value }, open.anchor, 1)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, span: Span, anchor: usize, map: bool) -> Result<(), Diagnostic> {
        if self.stack.len() >= DEPTH {
            return Err(too_deep(span));
        }
        self.stack.push(Open { span, anchor, list: Vec::new(), key: None, map: map.then(Vec::new) });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Diagnostic> {
        self.nodes = self.nodes.saturating_add(size);
        if self.nodes > NODES {
            let message = format!("the file has more than {NODES} values once its aliases are followed");
            return Err(node.span.error(codes::TOO_MANY, message, "use fewer aliases"));
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
        match open.key.take() {
            None => {
                if let Value::Text(text, _) = &node.value
                    && let Some((first, _)) =
                        map.iter().find(|(key, _)| matches!(&key.value, Value::Text(known, _) if known == text))
                {
                    let message = format!("`{text}` is given twice, first in line {}", first.span.line);
                    return Err(node.span.error(codes::DUPLICATE, message, "remove one of the two"));
                }
                open.key = Some(node);
            }
            Some(key) => map.push((key, node)),
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Text(..) => 1,
        Value::List(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Map(map) => 1 + map.iter().map(|(key, value)| size(key) + size(value)).sum::<usize>(),
    }
}
