//! What a key of the configuration is, and in which form it is written.

/// The form in which a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A string.
    Text,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number,
    /// `"12h"`, `"1h30m"`, or whole seconds.
    Duration,
    /// `"64MiB"`, or a number of bytes.
    Size,
    /// A list of strings.
    List,
    /// A table of strings, numbers and switches.
    Table,
    /// A list of tables.
    Tables,
    /// A word, or a list of URLs.
    WordOrUrls,
}

impl Form {
    /// How the reference page names the form.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Switch => "true or false",
            Self::Number => "number",
            Self::Duration => "duration",
            Self::Size => "size",
            Self::List => "list of strings",
            Self::Table => "table",
            Self::Tables => "list of tables",
            Self::WordOrUrls => "string or list of strings",
        }
    }
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// The dotted path; `<name>` stands for any region's name.
    pub(crate) path: &'static str,
    pub(crate) form: Form,
    /// As it would be written in TOML; `None` where absence means something.
    pub(crate) default: Option<&'static str>,
    pub(crate) meaning: &'static str,
}

pub(super) const fn key(
    path: &'static str,
    form: Form,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Key {
    Key {
        path,
        form,
        default,
        meaning,
    }
}
