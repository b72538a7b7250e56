//! A lineage as a tree of text, and as a picture.

use crate::{fault::Fault, output::Style};
use domain::model::{LineageKind, LineageNode, LineageView};
use layout::{
    adt::dag::NodeHandle,
    backends::svg::SVGWriter,
    core::{base::Orientation, color::Color, geometry::Point, style::StyleAttr},
    std_shapes::shapes::{Arrow, Element, ShapeKind},
    topo::layout::VisualGraph,
};
use std::collections::{BTreeMap, BTreeSet};

/// Things that a picture can hold; the layout of more takes too long, and nobody reads it.
const DRAWN_MAX: usize = 300;

fn kind(node: &LineageNode) -> &'static str {
    match node.kind {
        LineageKind::Model => "model",
        LineageKind::Artifact => "artifact",
        LineageKind::Job => "job",
        LineageKind::Dataset => "data set",
        LineageKind::Code => "code",
    }
}

/// What a thing is called on a line: digests are cut as everywhere.
fn label(node: &LineageNode) -> String {
    let id = match node.kind {
        LineageKind::Dataset | LineageKind::Code => node.id.get(..8).unwrap_or(&node.id),
        LineageKind::Model | LineageKind::Artifact | LineageKind::Job => &node.id,
    };
    match node.name.as_str() {
        "" => format!("{} {id}", kind(node)),
        name => format!("{} {id} {name}", kind(node)),
    }
}

/// Who is next to whom, in one way.
type Next = BTreeMap<usize, Vec<usize>>;

struct Tree<'a> {
    style: Style,
    view: &'a LineageView,
    next: Next,
    shown: BTreeSet<usize>,
    out: String,
}

impl Tree<'_> {
    /// Writes what hangs below a thing. What was written before is only named again.
    fn branch(&mut self, place: usize, indent: &str) {
        let below = self.next.get(&place).cloned().unwrap_or_default();
        let last = below.len().saturating_sub(1);
        for (at, other) in below.into_iter().enumerate() {
            let (fork, more) = if at == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let first = self.shown.insert(other);
            let leads_on = self.next.contains_key(&other);
            let above = if first || !leads_on { "" } else { " (see above)" };
            let name = label(&self.view.nodes[other]);
            self.out.push_str(&format!("{indent}{fork}{name}{}\n", self.style.faint(above)));
            if first {
                self.branch(other, &format!("{indent}{more}"));
            }
        }
    }
}

fn tree(style: Style, view: &LineageView, head: &str, next: Next) -> String {
    if !next.contains_key(&0) {
        return String::new();
    }
    let shown = BTreeSet::from([0]);
    let mut tree = Tree { style, view, next, shown, out: format!("{}\n", style.faint(head)) };
    tree.branch(0, "  ");
    tree.out
}

/// A lineage as text.
#[must_use]
pub fn text(style: Style, view: &LineageView) -> String {
    let (mut up, mut down) = (Next::new(), Next::new());
    for edge in &view.edges {
        up.entry(edge.to).or_default().push(edge.from);
        down.entry(edge.from).or_default().push(edge.to);
    }
    let mut out = format!("{}\n", style.strong(&view.model.to_string()));
    out.push_str(&tree(style, view, "made of", up));
    out.push_str(&tree(style, view, "led to", down));
    if view.truncated {
        out.push_str("… there is more: raise --depth or --max\n");
    }
    out
}

fn element(node: &LineageNode, asked_for: bool) -> Element {
    let text = label(node);
    let shape = match node.kind {
        LineageKind::Model | LineageKind::Artifact => ShapeKind::new_box(&text),
        LineageKind::Job => ShapeKind::new_circle(&text),
        LineageKind::Dataset | LineageKind::Code => ShapeKind::new_box(&text),
    };
    let fill = match (asked_for, node.kind) {
        (true, _) => Some(Color::new(0xff_e0_82_ff)),
        (false, LineageKind::Model) => Some(Color::new(0xe3_f2_fd_ff)),
        (false, _) => None,
    };
    let look = StyleAttr::new(Color::new(0x37_47_4f_ff), 1, fill, 4, 13);
    let width = 24.0 + 8.0 * text.chars().count() as f64;
    Element::create(shape, look, Orientation::LeftToRight, Point::new(width, 30.0))
}

/// A lineage as a picture in SVG: what was used stands left of what was made of it.
///
/// # Errors
/// When it has too many things to be drawn.
pub fn svg(view: &LineageView) -> Result<String, Fault> {
    let count = view.nodes.len();
    if count > DRAWN_MAX {
        let detail = format!("{count} things are too many for a picture; {DRAWN_MAX} are the most");
        return Err(Fault::usage("svg", detail).hint("draw less: --depth 2, or --max 300"));
    }
    let mut graph = VisualGraph::new(Orientation::LeftToRight);
    let places: Vec<NodeHandle> = view
        .nodes
        .iter()
        .enumerate()
        .map(|(place, node)| graph.add_node(element(node, place == 0)))
        .collect();
    for edge in &view.edges {
        graph.add_edge(Arrow::simple(""), places[edge.from], places[edge.to]);
    }
    let mut picture = SVGWriter::new();
    graph.do_it(false, false, false, &mut picture);
    Ok(picture.finalize())
}
