//! How near the parts of a gang have to be, on the wire.

use super::job::{WireError, word};
use crate::v1;
use domain::topology::{Layout, Level, Topology};

const REMEDY: &str = "use `nvlink`, `numa`, `node`, `rack` or `block`";

/// The word of a layout; empty for the default.
pub(super) fn layout_word(layout: Layout) -> &'static str {
    match layout {
        Layout::Pack => "",
        Layout::Spread => "spread",
    }
}

impl v1::Job {
    pub(super) fn topology(&self) -> Result<Topology, WireError> {
        let words = Level::WORDS.map(|(word, level)| (word, Some(level)));
        Ok(Topology {
            require: word("topology_require", &self.topology_require, words, REMEDY)?,
            prefer: word("topology_prefer", &self.topology_prefer, words, REMEDY)?,
            layout: word(
                "topology_layout",
                &self.topology_layout,
                Layout::WORDS,
                "use `pack` or `spread`",
            )?,
        })
    }
}
