//! Stored replies: one key, one effect, one answer.

use super::{
    command::{Command, Refusal, Reply},
    key,
    row::{Meta, ReplyAge, ReplyRow},
    step::Step,
};
use domain::{Digest, RequestKey, limit, port::RowRead};

/// Replies beyond as many as it stores after which an entry forgets no more.
const FORGET: usize = 16;

/// What is known of a key.
pub enum Known {
    /// Nothing: the command is to be done, and its reply kept with this digest.
    New(Digest),
    /// It was answered.
    Answered(Reply),
}

/// Looks a key up.
pub fn look<R: RowRead>(step: &Step<'_, R>, request: RequestKey, command: &Command) -> Known {
    let digest = Digest::of_value(command);
    match step.rows.read::<ReplyRow>(&key::reply(request)) {
        None => Known::New(digest),
        Some(row) if row.command == digest => Known::Answered(row.reply),
        Some(_) => Known::Answered(Reply::Refused(Refusal::KeyReused { key: request })),
    }
}

/// Keeps a reply. "Not yet" is no answer: the same request may succeed later.
pub fn keep<R: RowRead>(
    step: &mut Step<'_, R>,
    meta: &mut Meta,
    request: RequestKey,
    command: Digest,
    reply: &Reply,
) {
    if matches!(reply, Reply::Refused(Refusal::NotYet { .. })) {
        return;
    }
    step.rows.put_new(key::reply(request), &ReplyRow { command, reply: reply.clone() });
    step.kept.push(request);
    meta.replies += 1;
}

/// Ends an entry: gives the replies that it kept their place in the order of age, and forgets the
/// oldest that are too old or too many, but never the newest [`limit::REPLIES_MIN`].
pub fn close<R: RowRead>(step: &mut Step<'_, R>, meta: &mut Meta) {
    let keys = std::mem::take(&mut step.kept);
    let may_forget = keys.len() + FORGET;
    if !keys.is_empty() {
        let age = ReplyAge { keys, time: step.now };
        step.rows.put_new(key::reply_age(meta.reply_next), &age);
        meta.reply_next += 1;
    }
    let mut forgotten = 0;
    while forgotten < may_forget && meta.reply_first < meta.reply_next {
        let age_key = key::reply_age(meta.reply_first);
        let Some(age) = step.rows.read::<ReplyAge>(&age_key) else { return };
        let left = meta.replies - age.keys.len() as u64;
        let too_many = meta.replies > limit::REPLIES_MAX;
        let young = !too_many && step.now.minus(age.time) < limit::REPLY_KEPT;
        if young || left < limit::REPLIES_MIN {
            return;
        }
        forgotten += age.keys.len();
        meta.replies = left;
        meta.reply_first += 1;
        for old in age.keys {
            step.rows.remove(key::reply(old));
        }
        step.rows.remove(age_key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::record::Events;
    use domain::{LogIndex, Millis, scratch::Scratch};
    use std::collections::{BTreeMap, BTreeSet};

    /// What is left of `count` replies of which the two oldest are a day old.
    fn left(count: u64) -> u64 {
        let rows = BTreeMap::new();
        let now = limit::REPLY_KEPT.plus(Millis(1));
        let mut step = Step {
            rows: Scratch::new(&rows),
            at: LogIndex(1),
            now,
            ordinal: 0,
            effects: Vec::new(),
            told: BTreeSet::new(),
            events: Events::default(),
            kept: Vec::new(),
            #[cfg(feature = "planted")]
            planted: Default::default(),
        };
        for (age, time) in [(0, Millis(0)), (1, now)] {
            let keys = vec![RequestKey([age as u8; 16]), RequestKey([age as u8 + 2; 16])];
            step.rows.put(key::reply_age(age), &ReplyAge { keys, time });
        }
        let mut meta = Meta { replies: count, reply_next: 2, ..Meta::default() };
        close(&mut step, &mut meta);
        meta.replies
    }

    #[test]
    fn the_newest_replies_are_kept_however_old_they_seem_and_of_others_those_of_a_day() {
        assert_eq!(left(4), 4);
        assert_eq!(left(limit::REPLIES_MIN + 1), limit::REPLIES_MIN + 1);
        assert_eq!(left(limit::REPLIES_MIN + 2), limit::REPLIES_MIN);
        assert_eq!(left(limit::REPLIES_MIN + 4), limit::REPLIES_MIN + 2);
    }
}
