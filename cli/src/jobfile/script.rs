//! A script that says what it needs in its first lines: `#ASSAY --gpus 2`, `#SBATCH -c 4`.

use super::{draft::Draft, sbatch};
use crate::{args::spec::SpecFlags, document::reader::Reader};
use clap::Parser;
use std::path::Path;

/// One `#ASSAY` line, read as the command line would be.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Directive {
    #[command(flatten)]
    flags: SpecFlags,
}

/// What a script says of itself.
#[derive(Debug, Default)]
pub struct Script {
    /// The job.
    pub draft: Draft,
    /// What was understood differently from Slurm, or not at all; for the author.
    pub notes: Vec<String>,
}

/// Reads the directives of a script, which end at its first line of code.
pub fn read(reader: &mut Reader, text: &str, base: &Path) -> Script {
    let mut script = Script::default();
    let mut slurm = sbatch::Slurm::default();
    for (number, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line.trim_end())) {
        if let Some(rest) = directive(line, "#ASSAY") {
            if let Some(draft) = assay_line(reader, number, rest, base) {
                script.draft = draft.over(std::mem::take(&mut script.draft));
            }
        } else if let Some(rest) = directive(line, "#SBATCH") {
            match split(rest) {
                Ok(words) => slurm.line(reader, number, &words, &mut script.notes),
                Err(fault) => reader.fault(Some(number), "#SBATCH", fault, ""),
            }
        } else if !line.trim_start().is_empty() && !line.trim_start().starts_with('#') {
            break;
        }
    }
    let from_slurm = slurm.draft(reader, &mut script.notes);
    script.draft = std::mem::take(&mut script.draft).over(from_slurm);
    script
}

fn directive<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.strip_prefix(mark).filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

fn assay_line(reader: &mut Reader, line: usize, rest: &str, base: &Path) -> Option<Draft> {
    let words = match split(rest) {
        Ok(words) => words,
        Err(fault) => {
            reader.fault(Some(line), "#ASSAY", fault, "");
            return None;
        }
    };
    match Directive::try_parse_from(words) {
        Ok(directive) => Some(directive.flags.draft(base)),
        Err(fault) => {
            let (what, remedy) = condense(&fault.to_string());
            reader.fault(Some(line), "#ASSAY", what, &remedy);
            None
        }
    }
}

/// The fault and the tip of a message of several lines.
fn condense(message: &str) -> (String, String) {
    let first = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let tip = message.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    (first.to_owned(), tip.unwrap_or("`assay submit --help` lists the flags").to_owned())
}

/// Splits a line into words as a shell would, with quotes and backslashes.
///
/// # Errors
/// When a quote is not closed.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut open) = (Vec::new(), None::<String>, None::<char>);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (open, c) {
            (None, '#') if word.is_none() => break,
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '"' | '\'') => {
                open = Some(c);
                word.get_or_insert_default();
            }
            (Some(quote), c) if c == quote => open = None,
            (None | Some('"'), '\\') => {
                let next = chars.next().ok_or("ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = open {
        return Err(format!("a {quote} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::GpuCount;

    fn draft(text: &str) -> (Draft, Vec<String>, Vec<String>) {
        let mut reader = Reader::default();
        let script = read(&mut reader, text, Path::new("/w"));
        let faults = reader.faults.iter().map(ToString::to_string).collect();
        (script.draft, script.notes, faults)
    }

    #[test]
    fn directives_are_read_as_flags_and_end_at_the_first_code() {
        let (draft, _, faults) = draft(
            "#!/bin/sh\n#ASSAY --gpus 2 --name 'my job'\n# words\n#ASSAY -p lr=0.1\n\
             echo\n#ASSAY --gpus 9\n",
        );
        assert_eq!(faults, [""; 0]);
        assert_eq!((draft.gpus, draft.name.as_deref()), (Some(GpuCount::whole(2)), Some("my job")));
        assert_eq!(draft.hyperparameters["lr"], "0.1");
    }

    #[test]
    fn a_directive_that_is_no_flag_is_refused_with_the_nearest() {
        let (_, _, faults) = draft("#!/bin/sh\n#ASSAY --gpu 2\n");
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("line 2: #ASSAY: unexpected argument '--gpu'"), "{faults:?}");
        assert!(faults[0].contains("--gpus"), "{faults:?}");
    }

    #[test]
    fn words_are_split_as_a_shell_would() {
        let words = split(r#" a 'b c' "d \"e" f\ g # not this"#).unwrap();
        assert_eq!(words, ["a", "b c", "d \"e", "f g"]);
        assert!(split("'open").is_err());
    }
}
