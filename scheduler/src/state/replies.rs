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
/// oldest that are too old or too many.
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
        let too_many = meta.replies > limit::REPLIES_MAX;
        if !too_many && step.now.minus(age.time) < limit::REPLY_KEPT {
            return;
        }
        forgotten += age.keys.len();
        meta.replies -= age.keys.len() as u64;
        meta.reply_first += 1;
        for old in age.keys {
            step.rows.remove(key::reply(old));
        }
        step.rows.remove(age_key);
    }
}
