//! The words of the tour.

use super::super::layout::Layout;
use crate::{
    fault::{Fault, Kind},
    output::Output,
    quantity::show_duration,
};
use domain::{ArtifactId, Millis};
use std::time::Instant;

/// Widest line of an explanation.
const WIDTH: usize = 96;

/// Leads through the steps and times them.
pub struct Guide {
    output: Output,
    began: Instant,
    step_began: Instant,
    number: u32,
    name: String,
}

impl Guide {
    /// Starts the tour.
    #[must_use]
    pub fn new(output: Output) -> Self {
        let now = Instant::now();
        Self { output, began: now, step_began: now, number: 0, name: String::new() }
    }

    /// Ends the step before and announces the next.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn step(&mut self, name: &str, words: &str) -> Result<(), Fault> {
        self.close()?;
        self.number += 1;
        self.name = name.to_owned();
        self.step_began = Instant::now();
        let style = self.output.style;
        self.output.text(&format!("\n{}", style.strong(&format!("{}. {name}", self.number))))?;
        self.output.text(&style.faint(&wrap(words)))
    }

    fn close(&self) -> Result<(), Fault> {
        if self.number == 0 {
            return Ok(());
        }
        let took = show_duration(elapsed(self.step_began));
        self.output.text(&self.output.style.faint(&format!("   [{took}]")))
    }

    /// Shows a command as a user would type it.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn command(&self, line: &str) -> Result<(), Fault> {
        self.output.text(&format!("$ assay {line}"))
    }

    /// Shows what a command prints.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn say(&self, text: &str) -> Result<(), Fault> {
        self.output.text(text)
    }

    /// Shows that something held, or ends the tour.
    ///
    /// # Errors
    /// When it did not hold.
    pub fn holds(&self, what: &str, held: bool) -> Result<(), Fault> {
        if held {
            return self.say(&format!("   {} {what}", self.output.style.good("ok")));
        }
        Err(self.broken(what))
    }

    /// The fault of a step that did not hold.
    #[must_use]
    pub fn broken(&self, what: &str) -> Fault {
        let detail =
            format!("step {} of the tour, {}: did not hold: {what}", self.number, self.name);
        Fault::new(Kind::Mismatch, "tour", detail).hint("the logs are in the cluster's folder")
    }

    /// Ends the tour with what to try next.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn end(&self, layout: &Layout, artifact: &ArtifactId) -> Result<(), Fault> {
        self.close()?;
        let style = self.output.style;
        let took = show_duration(elapsed(self.began));
        self.say(&style.good(&format!("\nevery step held, in {took}")))?;
        let profile = layout.dir.display();
        self.say(&format!(
            "\nthe cluster stays up until Ctrl-C; three commands to try in another terminal:\n  \
             export ASSAY_PROFILE={profile}\n  \
             assay submit --gpus 1 --follow --outputs none -- sh -c 'echo hello from $ASSAY_JOB'\n  \
             assay artifact show {artifact}\n  \
             assay cluster status"
        ))
    }
}

fn elapsed(since: Instant) -> Millis {
    Millis(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// Breaks words into lines, indented.
fn wrap(words: &str) -> String {
    let mut lines = vec![String::from("  ")];
    for word in words.split_whitespace() {
        if let Some(line) = lines.last_mut().filter(|line| line.len() + word.len() < WIDTH) {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("   {word}"));
        }
    }
    lines.join("\n")
}
