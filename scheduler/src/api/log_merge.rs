//! The logs of all ranks of an attempt as one, in the order in which their lines came in.

use super::{
    context::Context,
    error,
    follow::{LOOK, LogOut, Place, ended, nothing, place, send_log, send_sealed},
    log_hub::LogHub,
};
use domain::{ElementId, LeaseId, Millis, link::LogSource};
use proto::v1;
use std::{collections::BTreeSet, io};
use tonic::Status;

/// How far one rank's file was sent.
struct Cursor {
    rank: u32,
    source: LogSource,
    offset: u64,
    /// The mark to begin at.
    mark: u64,
}

/// All files of one lease.
struct Merge {
    lease: LeaseId,
    cursors: Vec<Cursor>,
    /// What is there and was not handed on: when it came in, whose it is, where it ends.
    due: BTreeSet<(Millis, usize, u64)>,
}

/// Bytes of one rank that came in together.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    rank: u32,
    offset: u64,
    time: Millis,
    data: Vec<u8>,
}

impl Merge {
    fn new(place: &Place, metrics: bool) -> Self {
        let source = |rank| match metrics {
            true => LogSource::Metrics { rank },
            false => LogSource::Output { rank },
        };
        let cursor = |rank: &u32| Cursor { rank: *rank, source: source(*rank), offset: 0, mark: 0 };
        let cursors = place.ranks.iter().map(cursor).collect();
        Self { lease: place.lease, cursors, due: BTreeSet::new() }
    }

    /// Looks for what has come in.
    fn look(&mut self, hub: &LogHub) -> io::Result<()> {
        self.due.clear();
        for number in 0..self.cursors.len() {
            let next = self.next(hub, number)?;
            self.due.extend(next);
        }
        Ok(())
    }

    /// The next of what was found by then.
    fn pull(&mut self, hub: &LogHub) -> io::Result<Option<Piece>> {
        while let Some((time, number, end)) = self.due.pop_first() {
            let cursor = &mut self.cursors[number];
            let mut data = hub.read(self.lease, cursor.source, cursor.offset)?;
            data.truncate(usize::try_from(end - cursor.offset).unwrap_or(usize::MAX));
            if data.is_empty() {
                continue;
            }
            let piece = Piece { rank: cursor.rank, offset: cursor.offset, time, data };
            cursor.offset += piece.data.len() as u64;
            let next = self.next(hub, number)?;
            self.due.extend(next);
            return Ok(Some(piece));
        }
        Ok(None)
    }

    /// When a rank's next bytes came in, and where they end.
    fn next(&mut self, hub: &LogHub, number: usize) -> io::Result<Option<(Millis, usize, u64)>> {
        let cursor = &mut self.cursors[number];
        let next = hub.next(self.lease, cursor.source, cursor.offset, &mut cursor.mark)?;
        Ok(next.map(|(end, time)| (time, number, end)))
    }

    fn is_at_its_start(&self) -> bool {
        self.cursors.iter().all(|cursor| cursor.offset == 0)
    }
}

/// Sends what all ranks of an element wrote.
///
/// # Errors
/// When the disk fails, or the job is gone.
pub(super) async fn send(
    context: &Context,
    request: &v1::LogsRequest,
    element: ElementId,
    out: &LogOut,
) -> Result<(), Status> {
    let mut changes = context.node.applied();
    let mut merge: Option<Merge> = None;
    loop {
        let Some(place) = place(context, element, request.attempt).await? else {
            match nothing(context, request, element, out, &mut changes).await? {
                true => return Ok(()),
                false => continue,
            }
        };
        if let [rank] = place.ranks[..] {
            // Nothing to put in order: in pieces as large as there are.
            let request = v1::LogsRequest { rank, ..request.clone() };
            return send_log(context, &request, element, out).await;
        }
        // A new attempt writes new files.
        let merge = match &mut merge {
            Some(merge) if merge.lease == place.lease => merge,
            other => other.insert(Merge::new(&place, request.metrics)),
        };
        let mut grown = context.hub.follow_all(place.lease);
        if !drain(context, merge, &place, out).await? {
            return Ok(());
        }
        if !place.live {
            if merge.is_at_its_start()
                && !request.metrics
                && let Some(log) = place.sealed
            {
                return send_sealed(context, log, &place, out).await;
            }
            if !request.follow || request.attempt > 0 || ended(context, element).await? {
                return Ok(());
            }
        } else if !request.follow {
            return Ok(());
        }
        // Cancel-safe: a missed wake-up is made good by the next look.
        tokio::select! {
            _ = grown.changed() => {}
            _ = changes.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
            () = out.closed() => return Ok(()),
        }
    }
}

/// Sends all that is there; false when the reader is gone.
async fn drain(
    context: &Context,
    merge: &mut Merge,
    place: &Place,
    out: &LogOut,
) -> Result<bool, Status> {
    let ranks = u32::try_from(place.ranks.len()).unwrap_or(u32::MAX);
    let attempt = place.attempt.0;
    let disk = |fault: io::Error| {
        error::status("internal", format!("log file: {fault}"), "ask another server", true)
    };
    merge.look(&context.hub).map_err(disk)?;
    while let Some(Piece { rank, offset, time, data }) = merge.pull(&context.hub).map_err(disk)? {
        let data = data.into();
        let chunk = v1::LogChunk { offset, data, attempt, rank, time_ms: time.0, ranks };
        if out.send(Ok(chunk)).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::AttemptNo;

    const LEASE: LeaseId = LeaseId { index: 4, ordinal: 0 };

    #[test]
    fn lines_of_all_ranks_come_in_the_order_in_which_they_came_in_and_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let hub = LogHub::open(dir.path().to_owned()).unwrap();
        let place = Place {
            lease: LEASE,
            attempt: AttemptNo(1),
            live: true,
            sealed: None,
            ranks: vec![0, 1],
        };
        let mut merge = Merge::new(&place, false);
        let say = |rank, offset, text: &str| {
            // Marks are 10 ms apart at least.
            std::thread::sleep(std::time::Duration::from_millis(12));
            hub.append(LEASE, LogSource::Output { rank }, offset, text.as_bytes()).unwrap();
        };
        let heard = |merge: &mut Merge| {
            merge.look(&hub).unwrap();
            let pieces = std::iter::from_fn(|| merge.pull(&hub).unwrap());
            let of =
                |piece: Piece| (piece.rank, piece.offset, String::from_utf8(piece.data).unwrap());
            pieces.map(of).collect::<Vec<_>>()
        };
        let grown = hub.follow_all(LEASE);
        say(1, 0, "b\n");
        say(0, 0, "a\n");
        say(1, 2, "c\n");
        let line = |rank, offset, text: &str| (rank, offset, text.to_owned());
        assert!(grown.has_changed().unwrap());
        let all = [line(1, 0, "b\n"), line(0, 0, "a\n"), line(1, 2, "c\n")];
        assert_eq!(heard(&mut merge), all);
        assert_eq!(heard(&mut merge), []);
        say(0, 2, "d\n");
        assert_eq!(heard(&mut merge), [line(0, 2, "d\n")]);
        assert_eq!(heard(&mut Merge::new(&place, false)).len(), 4, "another reader hears all");
    }
}
