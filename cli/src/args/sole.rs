//! Reading the command line with one command laid out, in place of all.

use super::Cli;
use crate::{
    exit::Exit,
    fault::Fault,
    output::{Form, Output, Style},
};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use std::{env, ffi::OsString};

/// Reads the process's command line, or prints what is wrong with it (or the help that it asks
/// for) and ends the process.
///
/// Every flag that holds everywhere is copied into each command that is laid out, which for all of
/// them costs a short command a tenth of its life. A line that reads well with its own command
/// alone reads the same with all of them; any other is read again with all, for its message.
#[must_use]
pub fn parse() -> Cli {
    let words: Vec<OsString> = env::args_os().collect();
    let alone = alone(&words).and_then(|matches| Cli::from_arg_matches(&matches).ok());
    alone.unwrap_or_else(|| Cli::try_parse_from(&words).unwrap_or_else(|why| end(&why, &words)))
}

/// Tells of a line that cannot be read, in the form that it asks for, or shows the help.
fn end(why: &clap::Error, words: &[OsString]) -> ! {
    let json = words.iter().any(|word| word == "--json" || word == "--jsonl");
    if !json || !why.use_stderr() {
        why.exit();
    }
    Output { form: Form::Json, style: Style::of_stdout() }.fault(&fault(why));
    std::process::exit(i32::from(Exit::Usage.code()))
}

/// What clap says, in our form: its first line, and its advice.
fn fault(why: &clap::Error) -> Fault {
    let said = why.to_string();
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let detail = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let tip = lines.find_map(|line| line.strip_prefix("tip: "));
    Fault::usage("command_line", detail).hint(tip.unwrap_or("the same command with --help"))
}

/// What the line says where its first word that is no flag is its command, and nothing is wrong.
fn alone(words: &[OsString]) -> Option<ArgMatches> {
    let named = words.iter().skip(1).filter_map(|word| word.to_str());
    let name = named.into_iter().find(|word| !word.starts_with('-'))?;
    let all = Cli::command();
    let command = all.find_subcommand(name)?.clone();
    let one = <super::Global as clap::Args>::augment_args(clap::Command::new("assay"));
    one.subcommand(command).try_get_matches_from(words).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_line_read_alone_says_what_it_says_among_all() {
        for line in [
            "assay jobs",
            "assay --json jobs --state running",
            "assay submit --gpus 64 -- true --json",
            "assay submit --json --gpus 1 job.toml",
            "assay cluster add r4 host:7601 --timeout 5s",
            "assay --profile=p --timeout=1m wait j1 j2",
            "assay node drain node-a --reason disk",
        ] {
            let words = words(line);
            let all = Cli::command().try_get_matches_from(&words);
            let all = all.ok().and_then(|all| Cli::from_arg_matches(&all).ok());
            let one = alone(&words).and_then(|one| Cli::from_arg_matches(&one).ok());
            assert!(one.is_some(), "{line}: not read alone");
            assert_eq!(format!("{one:?}"), format!("{all:?}"), "{line}");
        }
    }

    #[test]
    fn a_fault_of_the_line_is_a_document_for_programs() {
        let told = |line: &str| {
            let why = Cli::try_parse_from(words(line)).expect_err(line);
            let fault = fault(&why);
            (fault.detail, fault.hint)
        };
        let (detail, hint) = told("assay jobs --bogus --json");
        assert!(detail.contains("--bogus"), "{detail}");
        assert!(!hint.is_empty());
        let (detail, hint) = told("assay jbos --json");
        assert!(detail.contains("jbos") && hint.contains("jobs"), "{detail} {hint}");
        let (detail, _) = told("assay priority j1 3000000000 --json");
        assert!(detail.contains("nor the name of a priority class"), "{detail}");
    }

    #[test]
    fn a_line_with_a_fault_is_left_to_all() {
        for line in [
            "assay",
            "assay --help",
            "assay --version",
            "assay jbos",
            "assay jobs --bogus",
            "assay submit --help",
            "assay help jobs",
            "assay --profile jobs nodes",
            // Reads well, but whose word `p` is takes more than a look at one command.
            "assay --profile p nodes",
        ] {
            assert!(alone(&words(line)).is_none(), "{line}");
        }
    }
}
