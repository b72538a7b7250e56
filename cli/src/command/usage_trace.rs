//! What ran on the cluster, as a workload: `assay-sim workload --format csv` runs it again under
//! any policy.

use super::Context;
use crate::{
    args::usage::Trace,
    exit::Exit,
    fault::{Fault, Kind},
    quantity::{show_duration, show_gpu_time},
};
use domain::{
    ElementId, Millis,
    gpu_time::DAY_MS,
    trace::{TraceRow, TraceView},
    view::NodeView,
};
use proto::v1::{NodesQuery, TraceQuery, query_request::What};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

/// Rows of one file at most: they are in memory until it is written.
const ROWS_MAX: usize = 1_000_000;
/// The columns. The first four are what the format asks for.
const COLUMNS: [&str; 9] =
    ["job_id", "submit_s", "gpus", "service_s", "tenant", "asked_s", "user", "begun_s", "ended_s"];

/// What was written, and how it went on the cluster itself.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Written {
    file: PathBuf,
    /// Rows: elements that ran and have ended.
    elements: u64,
    /// Elements that wait, run or are being sealed.
    unended: u64,
    /// GPUs of the cluster's nodes, by how many one has.
    nodes: BTreeMap<u64, u64>,
    #[serde(flatten)]
    went: Went,
}

/// The rows, for programs.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    rows: &'a [TraceRow],
    unended: u64,
}

/// How it went, over the rows that the simulator runs, by its definitions: those with GPUs that ran
/// for some time; wait is the time from submission to end in which it did not run.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Went {
    elements_with_gpus: u64,
    gpu_ms: u64,
    jct_avg_ms: u64,
    jct_p99_ms: u64,
    wait_avg_ms: u64,
    makespan_ms: u64,
}

/// `assay usage trace`.
///
/// # Errors
/// When nothing ran, there is too much for one file, nobody answers, or it cannot be written.
pub async fn run(context: &Context, args: Trace) -> Result<Exit, Fault> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && to <= from
    {
        return Err(Fault::usage("to", "no day is before --to and not before --from")
            .hint("--to is the day after the last one"));
    }
    let day = |day: Option<u64>| day.map_or(0, |day| day.saturating_mul(DAY_MS));
    let asked = TraceQuery {
        from_ms: day(args.from),
        until_ms: day(args.to),
        queue: args.queue.unwrap_or_default(),
        ..TraceQuery::default()
    };
    let view = pages(context, asked).await?;
    if view.rows.is_empty() {
        let why = "nothing that was submitted in this time ran and has ended";
        return Err(Fault::new(Kind::NotFound, "empty", why)
            .hint("`assay jobs` shows what there is; `--from` and `--to` bound the days"));
    }
    context.mark(view.log_index.0);
    let table = table(&view.rows)?;
    let Some(file) = args.out else {
        let listed = Listed { rows: &view.rows, unended: view.unended };
        context.output.show("usage_trace_rows", &listed, |_| table)?;
        return Ok(Exit::Ok);
    };
    write(&file, &table)?;
    let nodes = context.client.query::<Vec<NodeView>>(What::Nodes(NodesQuery::default())).await?;
    let written = Written {
        file,
        elements: view.rows.len() as u64,
        unended: view.unended,
        nodes: by_gpus(&nodes.value),
        went: Went::of(&view.rows),
    };
    context.output.show("usage_trace", &written, |_| text(&written))?;
    Ok(Exit::Ok)
}

async fn pages(context: &Context, mut asked: TraceQuery) -> Result<TraceView, Fault> {
    let query = async |asked: &TraceQuery| {
        let page = context.client.query::<TraceView>(What::Trace(asked.clone())).await?;
        Ok::<TraceView, Fault>(page.value)
    };
    let mut all = query(&asked).await?;
    while let Some(next) = all.next {
        asked.after = ElementId::to_string(&next);
        let page = query(&asked).await?;
        all.rows.extend(page.rows);
        all.unended += page.unended;
        (all.next, all.log_index) = (page.next, page.log_index);
        if all.rows.len() > ROWS_MAX {
            return Err(Fault::new(
                Kind::Refused,
                "too_many",
                format!("more than {ROWS_MAX} rows"),
            )
            .hint("write it in parts: --from and --to, or --queue"));
        }
    }
    Ok(all)
}

/// The text of the file. Times count from the first submission.
fn table(rows: &[TraceRow]) -> Result<String, Fault> {
    let zero = rows.iter().map(|row| row.submitted_ms).min().unwrap_or_default();
    let fault = |why: String| Fault::internal("csv", why);
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(COLUMNS).map_err(|why| fault(why.to_string()))?;
    for row in rows {
        let since = |time: Millis| seconds(time.minus(zero));
        csv.write_record([
            row.element.to_string(),
            since(row.submitted_ms),
            row.gpus.to_string(),
            seconds(row.service_ms),
            row.queue.clone(),
            row.time_limit_ms.map_or_else(String::new, seconds),
            row.user.clone(),
            since(row.begun_ms),
            since(row.ended_ms),
        ])
        .map_err(|why| fault(why.to_string()))?;
    }
    let bytes = csv.into_inner().map_err(|why| fault(why.to_string()))?;
    String::from_utf8(bytes).map_err(|why| fault(why.to_string()))
}

/// Whole or not at all: it is written beside its place, and put there once it is on the disk.
fn write(file: &Path, table: &str) -> Result<(), Fault> {
    let fault = |why: &std::io::Error| Fault::file(file, why);
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // As any file that is made: who may read it is for the umask to say.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let made = tempfile::Builder::new().permissions(mode).tempfile_in(folder);
    let mut made = made.map_err(|why| fault(&why))?;
    made.write_all(table.as_bytes())
        .and_then(|()| made.as_file().sync_all())
        .map_err(|why| fault(&why))?;
    made.persist(file).map_err(|why| fault(&why.error))?;
    Ok(())
}

fn seconds(time: Millis) -> String {
    format!("{}.{:03}", time.0 / 1_000, time.0 % 1_000)
}

/// How many nodes there are with so many GPUs.
fn by_gpus(nodes: &[NodeView]) -> BTreeMap<u64, u64> {
    let mut all = BTreeMap::new();
    for node in nodes.iter().filter(|node| !node.inventory.gpus.is_empty()) {
        *all.entry(node.inventory.gpus.len() as u64).or_default() += 1;
    }
    all
}

impl Went {
    fn of(rows: &[TraceRow]) -> Self {
        let runs = |row: &&TraceRow| row.gpus > 0 && row.service_ms > Millis(0);
        let rows: Vec<&TraceRow> = rows.iter().filter(runs).collect();
        let count = rows.len() as u64;
        let there = |row: &TraceRow| row.ended_ms.minus(row.submitted_ms);
        let mut jct: Vec<u64> = rows.iter().map(|row| there(row).0).collect();
        jct.sort_unstable();
        let p99 = jct.get(jct.len() * 99 / 100).or(jct.last());
        let mean = |sum: u64| sum.checked_div(count).unwrap_or_default();
        let wait = |row: &&TraceRow| there(row).minus(row.held_ms).0;
        let first = rows.iter().map(|row| row.submitted_ms).min().unwrap_or_default();
        let last = rows.iter().map(|row| row.ended_ms).max().unwrap_or_default();
        Self {
            elements_with_gpus: count,
            gpu_ms: rows.iter().map(|row| row.gpus.saturating_mul(row.service_ms.0)).sum(),
            jct_avg_ms: mean(jct.iter().sum()),
            jct_p99_ms: p99.copied().unwrap_or_default(),
            wait_avg_ms: mean(rows.iter().map(wait).sum()),
            makespan_ms: last.minus(first).0,
        }
    }
}

fn text(written: &Written) -> String {
    let Written { file, elements, unended, nodes, went } = written;
    let file = file.display();
    let time = |ms: u64| show_duration(Millis(ms));
    let mut text = format!(
        "{elements} elements written to {file}; {} of them had GPUs, {} in all\n\
         as it went: average completion {}, p99 {}, average wait {}, makespan {}\n",
        went.elements_with_gpus,
        show_gpu_time(went.gpu_ms),
        time(went.jct_avg_ms),
        time(went.jct_p99_ms),
        time(went.wait_avg_ms),
        time(went.makespan_ms),
    );
    if *unended > 0 {
        text += &format!("{unended} elements have not ended and are left out\n");
    }
    let shape = match nodes.iter().collect::<Vec<_>>()[..] {
        [(gpus, count)] => format!("{count}x{gpus}"),
        _ => "COUNTxGPUS".to_owned(),
    };
    text + &format!(
        "next: assay-sim workload --trace {file} --format csv --nodes {shape} \
                     --policy fifo,srtf,assay\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(element: &str, submitted: u64, times: (u64, u64), gpus: u64) -> TraceRow {
        TraceRow {
            element: element.parse().unwrap(),
            user: "ada, \"the first\"".into(),
            queue: "ml".into(),
            gpus,
            submitted_ms: Millis(submitted),
            begun_ms: Millis(times.0),
            ended_ms: Millis(times.1),
            service_ms: Millis(times.1 - times.0),
            held_ms: Millis(times.1 - times.0),
            time_limit_ms: (gpus > 1).then_some(Millis(60_000)),
        }
    }

    #[test]
    fn times_count_from_the_first_submission_and_names_are_quoted() {
        let rows = [row("j1", 5_000, (5_250, 6_250), 2), row("j2[7]", 5_500, (6_250, 8_000), 0)];
        assert_eq!(
            table(&rows).unwrap(),
            "job_id,submit_s,gpus,service_s,tenant,asked_s,user,begun_s,ended_s\n\
             j1,0.000,2,1.000,ml,60.000,\"ada, \"\"the first\"\"\",0.250,1.250\n\
             j2[7],0.500,0,1.750,ml,,\"ada, \"\"the first\"\"\",1.250,3.000\n"
        );
        let went = Went::of(&rows);
        assert_eq!((went.elements_with_gpus, went.gpu_ms), (1, 2_000));
        assert_eq!((went.jct_avg_ms, went.wait_avg_ms, went.makespan_ms), (1_250, 250, 1_250));
    }
}
