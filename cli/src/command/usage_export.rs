//! GPU time as journals that Finance takes in.
//!
//! Each journal is the body of one `POST /ledger/post`: two entries that balance, and a context
//! of strings. Its id, which is also the idempotency key, follows from cluster, days, job and
//! team: the same days exported again give the same journals.

use super::{Context, usage};
use crate::{
    args::usage::Export,
    exit::Exit,
    fault::{Fault, Kind},
    quantity::show_day,
};
use domain::{
    Digest, Millis,
    gpu_time::{DAY_MS, GpuTime, Spent, UsageLine, UsageView},
    view::ClusterView,
};
use proto::v1::{ClusterQuery, UsageQuery, query_request::What};
use registry::seal::canonical;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, io::Write as _};

/// Milliseconds of an hour.
const HOUR_MS: u128 = 3_600_000;
/// Time after the last day until every server's clock has passed it.
const SETTLING: Millis = Millis(60_000);

/// `assay usage export`.
///
/// # Errors
/// When the days are not over, jobs of them hold time that is not settled, nobody answers, or the
/// file cannot be written.
pub async fn run(context: &Context, args: Export) -> Result<Exit, Fault> {
    if args.to <= args.from {
        return Err(Fault::usage("to", "no day is before --to and not before --from")
            .hint("--to is the day after the last one"));
    }
    let asked = UsageQuery { first_day: args.from, last_day: args.to - 1, ..UsageQuery::default() };
    let over = usage::now().0 >= args.to.saturating_mul(DAY_MS).saturating_add(SETTLING.0);
    let view = usage::jobs(context, asked).await?;
    let last = over && view.total.running_gpu_ms == 0;
    if !last && !args.provisional {
        return Err(unsettled(over, &view));
    }
    let cluster: ClusterView = context.client.query(What::Cluster(ClusterQuery {})).await?.value;
    let priced = Priced {
        cluster: &cluster.cluster,
        from: show_day(args.from),
        to: show_day(args.to),
        end: Millis(args.to.saturating_mul(DAY_MS)),
        cents_per_gpu_hour: args.cents_per_gpu_hour,
        currency: &args.currency,
        last,
    };
    let document = priced.document(&view)?;
    let Some(file) = &args.out else {
        context.output.text(&document.text)?;
        return Ok(Exit::Ok);
    };
    let mut made = std::fs::File::create(file).map_err(|fault| Fault::file(file, &fault))?;
    made.write_all(document.text.as_bytes())
        .and_then(|()| made.sync_all())
        .map_err(|fault| Fault::file(file, &fault))?;
    let shown = json!({
        "amount_cents": document.cents,
        "digest": document.digest,
        "file": file,
        "final": last,
        "journals": document.journals,
    });
    context.output.show("usage_export", &shown, |_| {
        let (count, cents, file) = (document.journals, document.cents, file.display());
        let (currency, digest) = (&args.currency, &document.digest);
        format!("{count} journals over {cents} cents of {currency} written to {file}\n{digest}\n")
    })?;
    Ok(Exit::Ok)
}

fn unsettled(over: bool, view: &UsageView) -> Fault {
    let detail = if over {
        let of = view.lines.iter().filter(|line| line.time.running_gpu_ms > 0);
        let jobs: Vec<_> =
            of.filter_map(|line| line.job).take(8).map(|it| it.to_string()).collect();
        format!("{} hold time of these days since their last checkpoint", jobs.join(" "))
    } else {
        "these days are not over".to_owned()
    };
    Fault::new(Kind::Refused, "unsettled", detail)
        .hint("export earlier days, wait for a checkpoint, or look at it with --provisional")
}

/// What an export is made with.
struct Priced<'a> {
    cluster: &'a str,
    from: String,
    to: String,
    end: Millis,
    cents_per_gpu_hour: u64,
    currency: &'a str,
    last: bool,
}

/// An export, ready to be written.
struct Written {
    text: String,
    digest: String,
    journals: usize,
    cents: u64,
}

impl Priced<'_> {
    fn document(&self, view: &UsageView) -> Result<Written, Fault> {
        let mut teams: BTreeMap<&str, u128> = BTreeMap::new();
        let (mut journals, mut cents, mut below) = (Vec::new(), 0u64, 0u64);
        let mut checks = GpuTime::default();
        for line in &view.lines {
            if line.queue == domain::check::QUEUE {
                // Runs of checks are charged to nobody.
                checks = checks.plus(&line.time);
                continue;
            }
            let sum = teams.entry(&line.team).or_default();
            let before = self.cents(*sum);
            *sum += u128::from(line.time.owed());
            // What is below a cent is carried on to the team's next job: the sum is exact.
            let amount = self.cents(*sum).saturating_sub(before);
            cents = cents.saturating_add(amount);
            match amount {
                0 => below += 1,
                amount => journals.push(self.journal(line, amount)),
            }
        }
        let count = journals.len();
        let mut document = Map::from_iter([
            ("schema".to_owned(), json!("assay.finance.journals/v1")),
            ("cluster".to_owned(), json!(self.cluster)),
            ("from".to_owned(), json!(self.from)),
            ("to".to_owned(), json!(self.to)),
            ("currency".to_owned(), json!(self.currency)),
            ("cents_per_gpu_hour".to_owned(), json!(self.cents_per_gpu_hour)),
            ("final".to_owned(), json!(self.last)),
            ("log_index".to_owned(), json!(view.log_index.0.to_string())),
            ("wall_gpu_seconds".to_owned(), json!(seconds(view.wall_gpu_ms))),
            ("free_gpu_seconds".to_owned(), json!(seconds(view.free_gpu_ms))),
            ("held".to_owned(), Value::Object(shares(&view.total))),
            ("held_by_checks".to_owned(), Value::Object(shares(&checks))),
            ("journals".to_owned(), json!(journals)),
            ("jobs_below_one_cent".to_owned(), json!(below)),
        ]);
        let digest = format!("sha256:{}", Digest::of(text_of(&document)?.as_bytes()));
        document.insert("digest".to_owned(), json!(digest));
        Ok(Written { text: text_of(&document)?, digest, journals: count, cents })
    }

    fn cents(&self, gpu_ms: u128) -> u64 {
        let cents = gpu_ms * u128::from(self.cents_per_gpu_hour) / HOUR_MS;
        u64::try_from(cents).unwrap_or(u64::MAX)
    }

    fn journal(&self, line: &UsageLine, amount: u64) -> Value {
        let job = line.job.map_or_else(String::new, |job| job.to_string());
        let (cluster, from, to, team) = (self.cluster, &self.from, &self.to, &line.team);
        let entry = |account: String, side: &str| {
            json!({
                "account_id": account,
                "amount_cents": amount,
                "currency": self.currency,
                "memo": format!("GPU time of {job}, {from} to {to}"),
                "side": side,
            })
        };
        let mut context = shares(&line.time);
        for (name, value) in [
            ("cluster", cluster.to_owned()),
            ("final", self.last.to_string()),
            ("gpu_seconds", seconds(line.time.owed())),
            ("job_id", job.clone()),
            ("pool", line.queue.clone()),
            ("team", team.clone()),
            ("user", line.user.clone()),
        ] {
            context.insert(name.to_owned(), json!(value));
        }
        let state = if self.last { "" } else { ":provisional" };
        json!({
            "context": context,
            "currency": self.currency,
            "entries": [
                entry(format!("gpu-usage:{team}"), "debit"),
                entry(format!("gpu-pool:{cluster}"), "credit"),
            ],
            "journal_id": format!("assay:{cluster}:{from}:{to}:{job}:{team}{state}"),
            "timestamp": crate::quantity::show_time(self.end),
        })
    }
}

/// The shares of a time as strings of seconds, whole to the millisecond.
fn shares(time: &GpuTime) -> Map<String, Value> {
    let name = |spent: Spent| format!("{}_gpu_seconds", spent.word().replace(' ', "_"));
    let share = |spent: Spent| (name(spent), json!(seconds(time.share(spent))));
    Spent::ALL.into_iter().map(share).collect()
}

fn seconds(gpu_ms: u64) -> String {
    format!("{}.{:03}", gpu_ms / 1_000, gpu_ms % 1_000)
}

fn text_of(document: &Map<String, Value>) -> Result<String, Fault> {
    canonical::to_string(&Value::Object(document.clone()))
        .map_err(|fault| Fault::internal("canonical", fault.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{JobId, LogIndex};

    fn line(team: &str, job: u64, useful: u64, lost: u64) -> UsageLine {
        let time =
            GpuTime { useful_gpu_ms: useful, lost_to_faults_gpu_ms: lost, ..GpuTime::default() };
        let (team, queue, user) = (team.to_owned(), "ml-a".to_owned(), "ada".to_owned());
        UsageLine { team, queue, user, job: Some(JobId(job)), time }
    }

    fn view(lines: Vec<UsageLine>) -> UsageView {
        let total = lines.iter().fold(GpuTime::default(), |sum, line| sum.plus(&line.time));
        UsageView {
            first_day: 20_418,
            last_day: 20_418,
            now_ms: Millis(0),
            wall_gpu_ms: total.held() + 5,
            free_gpu_ms: 5,
            out_of_service_gpu_ms: 0,
            total,
            lines,
            next: None,
            log_index: LogIndex(7),
        }
    }

    fn priced(cents_per_gpu_hour: u64) -> Priced<'static> {
        Priced {
            cluster: "c1",
            from: "2025-11-26".into(),
            to: "2025-11-27".into(),
            end: Millis(20_419 * DAY_MS),
            cents_per_gpu_hour,
            currency: "USD",
            last: true,
        }
    }

    #[test]
    fn a_journal_balances_and_says_whose_time_it_is() {
        let check = UsageLine { queue: domain::check::QUEUE.into(), ..line("(checks)", 8, 9, 0) };
        let lines = vec![line("ml", 7, 7_200_000, 3_600_000), check];
        let written = priced(250).document(&view(lines)).unwrap();
        assert_eq!((written.journals, written.cents), (1, 500), "what faults took is not charged");
        let mut document: Value = serde_json::from_str(&written.text).unwrap();
        let journal = &document["journals"][0];
        assert_eq!(journal["journal_id"], "assay:c1:2025-11-26:2025-11-27:j7:ml");
        assert_eq!(journal["entries"][0]["side"], "debit");
        assert_eq!(journal["entries"][0]["amount_cents"], journal["entries"][1]["amount_cents"]);
        assert_eq!(document["held_by_checks"]["useful_gpu_seconds"], "0.009", "nobody is charged");
        let context = journal["context"].as_object().unwrap();
        assert!(context.values().all(Value::is_string), "{context:?}");
        assert_eq!(context["gpu_seconds"], "7200.000");
        assert_eq!(context["lost_to_faults_gpu_seconds"], "3600.000");
        let said = document.as_object_mut().unwrap().remove("digest").unwrap();
        let canonical = canonical::to_string(&document).unwrap();
        assert_eq!(said, format!("sha256:{}", Digest::of(canonical.as_bytes())));
    }

    #[test]
    fn cents_add_up_however_many_jobs_share_them() {
        let lines: Vec<_> = (1..=100).map(|job| line("ml", job, 36_000, 0)).collect();
        let written = priced(30).document(&view(lines)).unwrap();
        assert_eq!(written.cents, 30, "an hour of one GPU, in a hundred jobs");
        assert_eq!(written.journals, 30);
    }
}
