//! What a command writes: text for people, documents for programs.

pub mod stable;
pub mod table;

use crate::fault::Fault;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// In which form a command answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines for people.
    Text,
    /// One document.
    Json,
    /// One document a line, as things happen.
    JsonLines,
}

/// How text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Aligned columns with a heading; otherwise tabs between fields.
    pub table: bool,
    /// Colour.
    pub colour: bool,
}

impl Style {
    /// Neither columns nor colour.
    pub const PLAIN: Self = Self { table: false, colour: false };
    /// Columns without colour.
    pub const COLUMNS: Self = Self { table: true, colour: false };

    /// As standard output allows: columns on a terminal, colour unless `NO_COLOR` is set.
    #[must_use]
    pub fn of_stdout() -> Self {
        let table = io::stdout().is_terminal();
        let colour = table && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { table, colour }
    }

    /// Good news.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Bad news.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What is under way.
    #[must_use]
    pub fn busy(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// A heading.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What matters less.
    #[must_use]
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Where answers go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// In which form.
    pub form: Form,
    /// How text is laid out.
    pub style: Style,
}

impl Output {
    /// Shows a thing: its document, or its text.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn show<T: Serialize>(
        &self,
        schema: &str,
        value: &T,
        text: impl FnOnce(Style) -> String,
    ) -> Result<(), Fault> {
        match self.form {
            Form::Text => self.text(&text(self.style)),
            Form::Json | Form::JsonLines => self.document(schema, value),
        }
    }

    /// Writes a document: on one line in a stream, spread out otherwise.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn document<T: Serialize>(&self, schema: &str, value: &T) -> Result<(), Fault> {
        let document = stable::document(schema, value);
        let text = match self.form {
            Form::JsonLines => format!("{document}"),
            Form::Json | Form::Text => format!("{document:#}"),
        };
        self.text(&text)
    }

    /// Writes text and ends the line.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn text(&self, text: &str) -> Result<(), Fault> {
        let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        self.bytes(format!("{text}{end}").as_bytes())
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Fault> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|fault| {
            let reason = match fault.kind() {
                io::ErrorKind::BrokenPipe => BROKEN_PIPE,
                _ => "stdout",
            };
            Fault::internal(reason, format!("standard output: {fault}"))
        })
    }

    /// Tells a person something beside the answer; silent for programs.
    pub fn note(&self, text: &str) {
        if self.form == Form::Text {
            eprintln!("{text}");
        }
    }

    /// Tells of a fault on standard error.
    pub fn fault(&self, fault: &Fault) {
        match self.form {
            Form::Text => eprintln!("error: {fault}"),
            Form::Json | Form::JsonLines => {
                eprintln!("{}", serde_json::to_string(fault).unwrap_or_else(|_| fault.to_string()));
            }
        }
    }
}

/// The reason of a fault that means: the reader of our output has gone.
pub const BROKEN_PIPE: &str = "broken_pipe";
