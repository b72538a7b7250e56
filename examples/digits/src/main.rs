//! A training job that really trains: a small neural network on handwritten digits.
//!
//! Plain Rust without dependencies. Every sum has one order and every function is made of
//! `+ - * /` and `sqrt`, so that equal inputs give equal bytes on any machine.
#![forbid(unsafe_code)]

mod checkpoint;
mod data;
mod flags;
mod math;
mod model;
mod output;

use std::{io::Write, path::PathBuf, process::ExitCode};

/// Where the job finds and leaves things: the variables of a training program.
struct Surroundings {
    seed: u64,
    dataset: PathBuf,
    output: PathBuf,
    checkpoints: Option<PathBuf>,
    resume: Option<PathBuf>,
    notice: Option<PathBuf>,
    metrics: Option<PathBuf>,
}

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

impl Surroundings {
    fn read() -> Result<Self, String> {
        let need = |name: &str| {
            path(name).ok_or_else(|| format!("{name} is not set; run this as an Assay job"))
        };
        let seed = std::env::var("ASSAY_SEED").unwrap_or_else(|_| "0".into());
        Ok(Self {
            seed: seed.parse().map_err(|_| format!("ASSAY_SEED is `{seed}`, not a number"))?,
            dataset: need("ASSAY_DATASET_DIGITS")?,
            output: need("ASSAY_OUTPUT_DIR")?,
            checkpoints: path("ASSAY_CHECKPOINT_DIR"),
            resume: path("ASSAY_RESUME_FROM"),
            notice: path("ASSAY_NOTICE"),
            metrics: path("ASSAY_METRICS"),
        })
    }
}

fn report(metrics: &Option<PathBuf>, step: u64, loss: f32) -> Result<(), String> {
    println!("step {step} loss {loss:.6}");
    let Some(path) = metrics else { return Ok(()) };
    let fault = |why| format!("cannot append to {}: {why}", path.display());
    let mut file =
        std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(fault)?;
    writeln!(file, "{{\"step\":{step},\"loss\":{loss:.6}}}").map_err(fault)
}

fn train() -> Result<(), String> {
    let flags = flags::Flags::parse(std::env::args().skip(1))?;
    let around = Surroundings::read()?;
    let set = data::Digits::load(&around.dataset)?;
    let mut state = match &around.resume {
        Some(folder) => checkpoint::load(folder, flags.hidden)?,
        None => model::State::new(around.seed, flags.hidden),
    };
    if state.step > 0 {
        println!("resumed at step {}", state.step);
    }
    let steps_per_epoch = (set.train().len() / flags.batch) as u64;
    let last = steps_per_epoch * flags.epochs;
    let mut told = false;
    while state.step < last {
        if state.step % steps_per_epoch == 0 {
            state.shuffle(set.train().len());
        }
        let at = (state.step % steps_per_epoch) as usize * flags.batch;
        let batch: Vec<_> = state.order[at..at + flags.batch]
            .iter()
            .map(|row| &set.train()[*row as usize])
            .collect();
        let loss = state.learn(&batch, flags.rate);
        state.step += 1;
        if state.step % flags.log_every == 0 || state.step == last {
            report(&around.metrics, state.step, loss)?;
        }
        // The end is near: what is not saved now is done again later.
        let notice = around.notice.as_ref().is_some_and(|path| path.exists());
        if notice && !told {
            println!("notice at step {}: saving", state.step);
        }
        if let Some(folder) = &around.checkpoints
            && (state.step % flags.checkpoint_every == 0 || (notice && !told))
        {
            checkpoint::save(folder, &state)?;
        }
        told = notice;
        std::thread::sleep(std::time::Duration::from_millis(flags.step_delay_ms));
    }
    let right = set.held_out().iter().filter(|row| state.predict(&row.pixels) == row.label).count();
    output::write(&around.output, &state, right, set.held_out().len())?;
    println!("held-out accuracy {right} of {}", set.held_out().len());
    Ok(())
}

fn main() -> ExitCode {
    match train() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("assay-train: {why}");
            ExitCode::FAILURE
        }
    }
}
