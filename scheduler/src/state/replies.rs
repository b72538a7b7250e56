//! Stored replies: one key, one effect, one answer.

use super::{
    command::{Command, Refusal, Reply},
    key,
    row::{Meta, ReplyAge, ReplyRow},
    step::Step,
};
use domain::{Digest, RequestKey, limit, port::RowRead};

/// Replies forgotten by one entry at most, beside as many as it stores.
const FORGET: u64 = 16;

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
    step.rows.put(key::reply(request), &ReplyRow { command, reply: reply.clone() });
    step.rows.put(key::reply_age(meta.reply_next), &ReplyAge { key: request, time: step.now });
    meta.reply_next += 1;
}

/// Forgets the oldest replies that are too old or too many.
pub fn forget<R: RowRead>(step: &mut Step<'_, R>, meta: &mut Meta, stored: u64) {
    for _ in 0..stored + FORGET {
        if meta.reply_first == meta.reply_next {
            return;
        }
        let age_key = key::reply_age(meta.reply_first);
        let Some(age) = step.rows.read::<ReplyAge>(&age_key) else { return };
        let too_many = meta.reply_next - meta.reply_first > limit::REPLIES_MAX;
        if !too_many && step.now.minus(age.time) < limit::REPLY_KEPT {
            return;
        }
        step.rows.remove(key::reply(age.key));
        step.rows.remove(age_key);
        meta.reply_first += 1;
    }
}
