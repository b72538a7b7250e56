//! Parts of a submit that is larger than one log entry, kept until the last one comes.
//!
//! Each part is a request of its own with its own key and reply, so it may be repeated; the jobs
//! are taken in by the last one, all or none. What nobody finishes is forgotten.

use super::{
    command::{NewJob, Refusal, Reply, Submission},
    key,
    row::PartRow,
    sched::Sched,
    step::Step,
};
use domain::{limit, port::RowRead};

impl Sched {
    /// Keeps one part.
    pub(super) fn submit_part<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        jobs: Vec<NewJob>,
    ) -> Reply {
        self.forget_parts(step);
        let size = borsh::object_length(&jobs).unwrap_or(usize::MAX) as u64;
        if self.meta.part_bytes.saturating_add(size) > limit::PARTS_MAX.0 {
            let why = "parts of other large submits fill the room that there is for them";
            return Reply::Refused(Refusal::NotYet { why: why.into() });
        }
        let number = self.meta.part_next;
        self.meta.part_next += 1;
        self.meta.part_bytes += size;
        step.rows.put_new(key::part(number), &PartRow { time: step.now, size, jobs });
        Reply::Part { number }
    }

    /// Takes in the jobs of all parts and those of the last one, in order.
    pub(super) fn submit<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        submission: Submission,
    ) -> Reply {
        let Submission { parts, jobs: last, ties, further } = submission;
        let mut jobs = Vec::new();
        for number in parts {
            let Some(part) = self.take_part(step, number) else {
                return Reply::Refused(Refusal::WrongState {
                    what: "this submit".into(),
                    state: "cut off: its earlier parts came too long ago".into(),
                    remedy: "no job of it was taken in; submit it again".into(),
                });
            };
            jobs.extend(part.jobs);
        }
        jobs.extend(last);
        Submission::complete(&mut jobs, further);
        self.take_all(step, actor, jobs, &ties)
    }

    fn take_part<R: RowRead>(&mut self, step: &mut Step<'_, R>, number: u64) -> Option<PartRow> {
        let row: PartRow = step.rows.read(&key::part(number))?;
        step.rows.remove(key::part(number));
        self.meta.part_bytes -= row.size;
        Some(row)
    }

    fn forget_parts<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        while self.meta.part_first < self.meta.part_next {
            let row: Option<PartRow> = step.rows.read(&key::part(self.meta.part_first));
            if row.is_some_and(|row| step.now.minus(row.time) < limit::PART_KEPT) {
                return;
            }
            self.take_part(step, self.meta.part_first);
            self.meta.part_first += 1;
        }
    }
}
