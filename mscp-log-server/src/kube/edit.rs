//! Additions to a YAML text that leave every other byte of it as it is.

use std::ptr;

use saphyr::YamlData;

use super::{Path, Step, Value, get, parse};

/// Items that a list gets at its end.
pub(super) struct Growth {
    /// The mapping that has, or will have, the list.
    path: Path,
    /// What the list is called there.
    pub(super) key: &'static str,
    pub(super) items: Vec<Item>,
}

/// What is added.
pub(super) enum Item {
    /// An `emptyDir` of this name.
    Volume(String),
    /// A mount of the volume of this name at this path.
    Mount(String, String),
}

impl Item {
    /// As JSON, which is YAML too.
    fn flow(&self) -> String {
        match self {
            Self::Volume(name) => format!("{{\"name\": \"{name}\", \"emptyDir\": {{}}}}"),
            Self::Mount(name, path) => {
                let path = quoted(path);
                format!("{{\"name\": \"{name}\", \"mountPath\": {path}}}")
            }
        }
    }

    /// As an item of a block list whose dash is at `column`.
    fn block(&self, column: usize) -> String {
        let pad = " ".repeat(column);
        match self {
            Self::Volume(name) => format!("{pad}- name: {name}\n{pad}  emptyDir: {{}}\n"),
            Self::Mount(name, path) => {
                let plain = path
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte));
                let path = if plain { path.clone() } else { quoted(path) };
                format!("{pad}- name: {name}\n{pad}  mountPath: {path}\n")
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Growth {
    pub(super) fn new(path: Path, key: &'static str) -> Self {
        Self {
            path,
            key,
            items: Vec::new(),
        }
    }

    fn flow(&self) -> String {
        let items: Vec<String> = self.items.iter().map(Item::flow).collect();
        items.join(", ")
    }

    fn block(&self, column: usize) -> String {
        self.items.iter().map(|item| item.block(column)).collect()
    }

    /// Make it grow in `value`.
    pub(super) fn grow(&self, value: &mut Value) -> Option<()> {
        let mut holder = value;
        for step in &self.path {
            holder = match step {
                Step::Key(key) => holder.data.as_mapping_get_mut(key)?,
                Step::Index(index) => holder.data.as_sequence_get_mut(*index)?,
            };
        }
        let mut list = parse(&format!("[{}]", self.flow())).ok()?;
        let mapping = holder.data.as_mapping_mut()?;
        let key = parse(self.key).ok()?;
        match mapping.get_mut(&key) {
            Some(known) if known.data.is_sequence() => {
                let more = list.data.as_sequence_mut()?;
                known.data.as_sequence_mut()?.append(more);
            }
            Some(other) => *other = list,
            None => {
                mapping.insert(key, list);
            }
        }
        Some(())
    }

    /// Where and how it grows in `text`, which `value` was read from; `None`
    /// where that cannot be told.
    pub(super) fn edit(&self, text: &str, value: &Value) -> Option<Edit> {
        let source = Source::new(text);
        let holder = self.path.iter().try_fold(value, |at, step| match step {
            Step::Key(key) => get(at, key),
            Step::Index(index) => at.data.as_sequence_get(*index),
        })?;
        let members = holder.data.as_mapping()?;
        let Some(list) = get(holder, self.key) else {
            if source.is_flow(holder) {
                let member = format!("{}: [{}]", quoted(self.key), self.flow());
                return source.in_brackets(holder, &member);
            }
            let (first, _) = members.iter().next()?;
            let column = source.column(source.start(first))?;
            let key = format!("{}{}:\n", " ".repeat(column), self.key);
            return source.behind(holder, key + &self.block(column));
        };
        if list.data.is_null() {
            let mut members = members.iter();
            let (key, _) = members.find(|(_, value)| ptr::eq(*value, list))?;
            return source.in_place_of_null(key, &format!(" [{}]", self.flow()));
        }
        if source.is_flow(list) {
            return source.in_brackets(list, &self.flow());
        }
        let first = source.start(list.data.as_sequence()?.first()?);
        let before = text[..first].trim_end_matches([' ', '\n', '\r']);
        let column = source.column(before.strip_suffix('-')?.len())?;
        source.behind(list, self.block(column))
    }
}

/// Text that comes in at a byte.
pub(super) struct Edit {
    at: usize,
    /// Bytes that it takes the place of.
    over: usize,
    text: String,
}

/// A text, and where what was read from it begins and ends.
struct Source<'t> {
    text: &'t str,
    /// The byte of each character.
    bytes: Vec<usize>,
}

impl<'t> Source<'t> {
    fn new(text: &'t str) -> Self {
        let bytes = text.char_indices().map(|(byte, _)| byte).collect();
        Self { text, bytes }
    }

    fn byte(&self, character: usize) -> usize {
        *self.bytes.get(character).unwrap_or(&self.text.len())
    }

    fn start(&self, node: &Value) -> usize {
        self.byte(node.span.start.index())
    }

    /// Whether a collection is written in brackets.
    fn is_flow(&self, node: &Value) -> bool {
        // A block list that is no deeper than its key begins, says the parser,
        // where its first item does.
        let items = node.data.as_sequence();
        let first = items.and_then(|items| items.first());
        let begin = self.start(node);
        self.text[begin..].starts_with(['{', '['])
            && first.is_none_or(|first| self.start(first) != begin)
    }

    /// The bracket that closes a collection: the parser's end is before it.
    fn close(&self, node: &Value) -> usize {
        self.byte(node.span.end.index())
    }

    /// Behind the last thing that is written of `node`; `None` where nothing is.
    fn end(&self, node: &Value) -> Option<usize> {
        // What the parser calls the end of a block collection is where the
        // next thing begins.
        let last = match &node.data {
            YamlData::Mapping(pairs) if !self.is_flow(node) => {
                let ends = pairs.iter().flat_map(|(key, value)| [key, value]);
                ends.filter_map(|node| self.end(node)).max()?
            }
            YamlData::Sequence(items) if !self.is_flow(node) => {
                items.iter().filter_map(|item| self.end(item)).max()?
            }
            YamlData::Mapping(_) | YamlData::Sequence(_) => self.close(node) + 1,
            _ if node.span.is_empty() => return None,
            _ => self.byte(node.span.end.index()),
        };
        Some(self.text[..last].trim_end().len())
    }

    /// How far a byte is from the beginning of its line, if there are only
    /// spaces and dashes before it.
    fn column(&self, at: usize) -> Option<usize> {
        let line = self.text[..at].rsplit('\n').next()?;
        let indents = line.bytes().all(|byte| matches!(byte, b' ' | b'-'));
        indents.then_some(line.len())
    }

    /// Lines behind the line on which `node` ends.
    fn behind(&self, node: &Value, mut lines: String) -> Option<Edit> {
        let end = self.end(node)?;
        let at = match self.text[end..].find('\n') {
            Some(more) => end + more + 1,
            None => {
                lines.pop();
                lines.insert(0, '\n');
                self.text.len()
            }
        };
        if self.text[..at].ends_with("\r\n") {
            lines = lines.replace('\n', "\r\n");
        }
        Some(Edit {
            at,
            over: 0,
            text: lines,
        })
    }

    /// More at the end of a collection in brackets.
    fn in_brackets(&self, node: &Value, more: &str) -> Option<Edit> {
        let inside = self.text[..self.close(node)].trim_end();
        let between = match inside.as_bytes().last()? {
            _ if inside.len() == self.start(node) + 1 => "",
            b',' => " ",
            _ => ", ",
        };
        Some(Edit {
            at: inside.len(),
            over: 0,
            text: format!("{between}{more}"),
        })
    }

    /// The value of a key that has none, or says so.
    fn in_place_of_null(&self, key: &Value, value: &str) -> Option<Edit> {
        let end = self.end(key)?;
        let colon = end + self.text[end..].find(':')? + 1;
        let rest = self.text[colon..].trim_start_matches(' ');
        let written = ["null", "Null", "NULL", "~"];
        let null = written.iter().find(|null| rest.starts_with(**null));
        let gap = self.text.len() - colon - rest.len();
        Some(Edit {
            at: colon,
            over: null.map_or(0, |null| gap + null.len()),
            text: value.to_owned(),
        })
    }
}

/// `text` with all `edits`; of those at one place the first comes first.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.at);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for edit in &edits {
        out.push_str(&text[done..edit.at]);
        out.push_str(&edit.text);
        done = edit.at + edit.over;
    }
    out.push_str(&text[done..]);
    out
}
