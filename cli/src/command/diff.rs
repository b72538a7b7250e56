//! `assay diff`: where two runs parted.

use super::{Context, find};
use crate::{
    args::{selector::Selector, user},
    exit::Exit,
    fault::{Fault, Kind},
    output::Style,
};
use domain::{Digest, checkpoint::Checkpoint, tree::Tree};
use serde::Serialize;
use std::collections::BTreeMap;

/// One run, as far as it is compared.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it is called.
    pub name: String,
    /// Its recipe.
    pub recipe: Digest,
    /// Its checkpoints by step.
    pub checkpoints: Vec<Checkpoint>,
    /// Its output, if it has one.
    pub output: Option<Tree>,
}

/// A step at which the two had other bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parted {
    /// The step.
    pub step: u64,
    /// The root on the left.
    pub left: Digest,
    /// The root on the right.
    pub right: Digest,
    /// The last step before it at which they still agreed.
    pub agreed_at: Option<u64>,
}

/// A file that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDiff {
    /// Its path.
    pub path: String,
    /// Its digest on the left, if it is there.
    pub left: Option<Digest>,
    /// Its digest on the right, if it is there.
    pub right: Option<Digest>,
}

/// What differs between two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The left run.
    pub left: String,
    /// The right run.
    pub right: String,
    /// Whether they were asked to do the same.
    pub same_recipe: bool,
    /// Steps that both have committed.
    pub compared_steps: Vec<u64>,
    /// The first checkpoint at which they parted.
    pub parted: Option<Parted>,
    /// Whether both outputs were there to be compared.
    pub compared_outputs: bool,
    /// Output files that differ, by path.
    pub files: Vec<FileDiff>,
}

impl Difference {
    /// Whether nothing differs in what both have.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.parted.is_none() && self.files.is_empty()
    }
}

/// Compares two runs: checkpoints by step, then output files by path.
#[must_use]
pub fn compare(left: &Run, right: &Run) -> Difference {
    let roots = |run: &Run| -> BTreeMap<u64, Digest> {
        run.checkpoints.iter().map(|point| (point.step, point.root)).collect()
    };
    let (left_roots, right_roots) = (roots(left), roots(right));
    let (mut compared_steps, mut parted, mut agreed_at) = (Vec::new(), None, None);
    for (step, left) in left_roots {
        let Some(right) = right_roots.get(&step).copied() else { continue };
        compared_steps.push(step);
        if left == right {
            agreed_at = Some(step);
        } else if parted.is_none() {
            parted = Some(Parted { step, left, right, agreed_at });
        }
    }
    let (compared_outputs, files) = match (&left.output, &right.output) {
        (Some(left), Some(right)) => (true, compare_files(left, right)),
        _ => (false, Vec::new()),
    };
    Difference {
        left: left.name.clone(),
        right: right.name.clone(),
        same_recipe: left.recipe == right.recipe,
        compared_steps,
        parted,
        compared_outputs,
        files,
    }
}

fn compare_files(left: &Tree, right: &Tree) -> Vec<FileDiff> {
    let mut both: BTreeMap<&str, (Option<Digest>, Option<Digest>)> = BTreeMap::new();
    for file in &left.files {
        both.entry(&file.path).or_default().0 = Some(file.digest);
    }
    for file in &right.files {
        both.entry(&file.path).or_default().1 = Some(file.digest);
    }
    let differ = both.into_iter().filter(|(_, (left, right))| left != right);
    differ.map(|(path, (left, right))| FileDiff { path: path.to_owned(), left, right }).collect()
}

/// The difference as text.
#[must_use]
pub fn text(style: Style, found: &Difference) -> String {
    let (left, right) = (&found.left, &found.right);
    let mut out = String::new();
    if !found.same_recipe {
        out.push_str(&format!("{left} and {right} have different recipes\n"));
    }
    match &found.parted {
        Some(parted) => {
            let before = parted.agreed_at.map_or("no step before it was the same".into(), |step| {
                format!("the same up to step {step}")
            });
            out.push_str(&style.bad(&format!("parted at checkpoint step {}", parted.step)));
            out.push_str(&format!(", {before}\n"));
            out.push_str(&format!("  {left}  {}\n  {right}  {}\n", parted.left, parted.right));
        }
        None if found.compared_steps.is_empty() => {
            out.push_str("no checkpoint step is committed in both\n");
        }
        None => {
            let steps = found.compared_steps.len();
            out.push_str(&style.good(&format!("{steps} checkpoints, all the same\n")));
        }
    }
    for file in &found.files {
        let side = |digest: Option<Digest>| digest.map_or("absent".into(), |d| d.short());
        let (l, r) = (side(file.left), side(file.right));
        out.push_str(&format!("{}  {l} {r}\n", style.bad(&format!("differs: {}", file.path))));
    }
    if !found.compared_outputs {
        out.push_str("outputs are not compared: not both runs have one\n");
    } else if found.files.is_empty() {
        out.push_str(&style.good("outputs: the same, bit for bit\n"));
    }
    out
}

/// Runs the command: exit code 7 when something differs.
///
/// # Errors
/// When one of the two is not there.
pub async fn run(context: &Context, args: &user::Diff) -> Result<Exit, Fault> {
    let (left, right) = (load(context, &args.left).await?, load(context, &args.right).await?);
    let found = compare(&left, &right);
    context.output.show("diff", &found, |style| text(style, &found))?;
    Ok(if found.is_none() { Exit::Ok } else { Exit::Mismatch })
}

/// One run: its artifact, or the job as far as it is.
///
/// # Errors
/// When there is none.
pub async fn load(context: &Context, which: &Selector) -> Result<Run, Fault> {
    match find::artifact(context, which).await {
        Ok(view) => Ok(Run {
            name: which.to_string(),
            recipe: view.artifact.ticket.recipe,
            checkpoints: view.artifact.checkpoints.clone(),
            output: Some(super::artifact::tree(&context.client, &view).await?),
        }),
        Err(fault) if fault.code == Kind::NotFound => {
            let element = find::one(context, which).await?;
            let job = find::job(context, element.job).await?;
            let part = job.parts.iter().find(|part| part.id == element);
            Ok(Run {
                name: which.to_string(),
                recipe: job.recipe,
                checkpoints: part.map_or_else(Vec::new, |part| part.checkpoints.clone()),
                output: None,
            })
        }
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;
    use domain::{Bytes, LeaseId};
    use expect_test::expect;

    fn run(name: &str, roots: &[(u64, &str)]) -> Run {
        let point = |(step, root): &(u64, &str)| Checkpoint {
            step: *step,
            root: Digest::of(root.as_bytes()),
            tree: Digest::default(),
            size: Bytes(1),
            lease: LeaseId::default(),
        };
        Run {
            name: name.into(),
            recipe: Digest::of(b"recipe"),
            checkpoints: roots.iter().map(point).collect(),
            output: Some(sample::tree()),
        }
    }

    #[test]
    fn the_first_step_at_which_runs_parted_is_named() {
        let left = run("j1", &[(100, "a"), (200, "b"), (300, "c"), (400, "d")]);
        let mut right = run("j2", &[(100, "a"), (200, "b"), (300, "x"), (400, "y")]);
        right.output.as_mut().unwrap().files[1].digest = Digest::of(b"other");
        let found = compare(&left, &right);
        assert_eq!(found.parted.as_ref().map(|p| (p.step, p.agreed_at)), Some((300, Some(200))));
        expect![[r#"
            parted at checkpoint step 300, the same up to step 200
              j1  2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6
              j2  2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881
            differs: model.safetensors  9d75c109 d9298a10
        "#]]
        .assert_eq(&text(Style::PLAIN, &found));
        insta::assert_json_snapshot!("diff.json", crate::output::stable::document("diff", &found));
    }

    #[test]
    fn a_step_that_only_one_has_proves_nothing() {
        let found = compare(&run("j1", &[(100, "a")]), &run("j2", &[(150, "z")]));
        assert!(found.is_none());
        expect![[r#"
            no checkpoint step is committed in both
            outputs: the same, bit for bit
        "#]]
        .assert_eq(&text(Style::PLAIN, &found));
    }
}
