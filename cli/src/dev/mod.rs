//! A whole cluster on this machine, from the same processes as any other.

mod children;
mod layout;
mod lock;
mod ready;
mod tour;

use crate::{
    args::{Global, process::Dev},
    command::{Context, process::stop_signal},
    config::profile::{self, Places},
    exit::Exit,
    fault::Fault,
    output::{Form, Output, Style},
};
use children::Children;
use layout::Layout;
use lock::Lock;
use std::{
    env, fs,
    io::IsTerminal,
    path::{Path, PathBuf},
};

/// Runs the command.
///
/// # Errors
/// When the cluster cannot be set up, or a step of the tour does not hold.
pub async fn run(global: &Global, args: Dev) -> Result<Exit, Fault> {
    let output = crate::command::output(global);
    let program = env::current_exe()
        .map_err(|fault| Fault::internal("exe", format!("this program has no path: {fault}")))?;
    let nvml = match &args.nvml {
        Some(path) => path.clone(),
        None => program.with_file_name("libfake_nvml.so"),
    };
    let nvml = fs::canonicalize(&nvml).map_err(|fault| {
        Fault::file(&nvml, &fault)
            .hint("cargo build -p fake-nvml; or name the library: assay dev --nvml FILE")
    })?;
    let layout = Layout { dir: folder(&args)? };
    let _lock = Lock::take(&layout.dir)?;
    children::end_stale(&layout).await;
    if !args.keep || !layout.is_set_up() {
        layout.clear()?;
        layout.set_up(&user(), &nvml, args.agents)?;
    } else {
        layout.link_nvml(&nvml)?;
    }
    if args.set_up {
        return set_up(&layout, output, &program);
    }
    let mut children = Children::start(&layout, &program)?;
    let outcome = live(&layout, &mut children, &args, output, &program).await;
    if output.form == Form::Text {
        eprintln!("stopping the cluster");
    }
    children.stop().await;
    outcome
}

/// The cluster's folder, with an absolute path.
fn folder(args: &Dev) -> Result<PathBuf, Fault> {
    let dir = args.dir.clone().unwrap_or_else(|| Places::of_process(None).dev_dir());
    std::path::absolute(&dir).map_err(|fault| Fault::file(&dir, &fault))
}

fn user() -> String {
    env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "dev".into())
}

async fn live(
    layout: &Layout,
    children: &mut Children,
    args: &Dev,
    output: Output,
    program: &Path,
) -> Result<Exit, Fault> {
    let client = crate::client::Client::new(&profile::load(&layout.profile())?)?;
    let style = if args.tour { Style { table: true, ..output.style } } else { output.style };
    let context = Context { client, output: Output { style, ..output } };
    let work = async {
        ready::wait(&context, layout, children).await?;
        if args.tour {
            tour::run(&context, layout, children, &args.examples, program).await?;
            if !std::io::stdout().is_terminal() {
                return Ok(Exit::Ok);
            }
        } else {
            greet(&context, layout).await?;
        }
        while let Some(ended) = children.ended.recv().await {
            context
                .output
                .note(&format!("{} ended: {}; it is started again", ended.name, ended.how));
        }
        Ok(Exit::Ok)
    };
    tokio::select! {
        done = work => done,
        () = stop_signal() => Ok(Exit::Ok),
    }
}

/// Says what is there and how to talk to it.
async fn greet(context: &Context, layout: &Layout) -> Result<(), Fault> {
    let view = crate::command::cluster::status(context).await?;
    let places = Places::of_process(None);
    let flag = match places.find() {
        Ok(found) if found == layout.profile() => String::new(),
        _ => format!(" --profile {}", layout.dir.display()),
    };
    context.output.show("dev", &view, |style| {
        format!(
            "{}\nfolder  {}\nlogs    {}\nprofile {}\nREST    {}\n\nin another terminal:\n  \
             assay{flag} nodes\n  assay{flag} submit --gpus 1 --follow --outputs none -- hostname\n  \
             assay{flag} jobs\n\nCtrl-C stops it; --keep goes on from here\n",
            crate::render::cluster::text(style, &view),
            layout.dir.display(),
            layout.dir.join("log").display(),
            layout.profile().display(),
            layout.rest(),
        )
    })
}

/// Says how the processes of a cluster that was only set up are started.
fn set_up(layout: &Layout, output: Output, program: &Path) -> Result<Exit, Fault> {
    let commands = children::commands(layout, program);
    let document = serde_json::json!({
        "folder": layout.dir.display().to_string(),
        "profile": layout.profile().display().to_string(),
        "commands": commands,
    });
    output.show("set_up", &document, |_| {
        let lines = commands.join("\n");
        format!("{lines}\n\nnext: start them; assay --profile {}\n", layout.dir.display())
    })?;
    Ok(Exit::Ok)
}
