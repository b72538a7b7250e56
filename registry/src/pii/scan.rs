//! The scan: stops at bytes that may be part of something, and asks the recognisers there.

use super::{
    email, iban, ip, number,
    report::{Finding, Kind, Report},
};
use std::io::{self, Read};

/// Bytes before a stop that a recogniser may look at: an e-mail's local part and one more.
const BEHIND: usize = email::LOCAL_MAX + 1;
/// Bytes from a stop on that one may look at: an e-mail's domain and one more.
const AHEAD: usize = email::DOMAIN_MAX + 2;

/// Bytes of a source that are read at once.
const CHUNK: usize = 1 << 20;

/// Something that a recogniser saw, from and to within the text it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub kind: Kind,
    pub from: usize,
    pub to: usize,
}

/// Scans all that a source gives; `read` hears how many bytes came each time.
///
/// # Errors
/// When the source fails.
pub fn scan_all(mut source: impl Read, mut read: impl FnMut(usize)) -> io::Result<Report> {
    let mut scanner = Scanner::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(scanner.finish()),
            Ok(more) => {
                scanner.push(&chunk[..more]);
                read(more);
            }
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
            Err(fault) => return Err(fault),
        }
    }
}

/// Scans a stream, chunk by chunk. What it finds does not depend on where chunks are cut.
#[derive(Debug, Default)]
pub struct Scanner {
    report: Report,
    /// The end of what came, as far as it may matter again.
    kept: Vec<u8>,
    /// Where `kept` starts in the stream.
    start: u64,
    /// The next byte to look at, in the stream.
    next: u64,
    /// Past the last finding, in the stream.
    seen: u64,
}

/// Bytes at which a recogniser is asked.
const STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        stops[digit as usize] = true;
        digit += 1;
    }
    stops[b'@' as usize] = true;
    stops[b':' as usize] = true;
    stops
};

impl Scanner {
    /// Takes the next chunk.
    pub fn push(&mut self, chunk: &[u8]) {
        // Only the seam is copied, so that a large chunk is read where it is.
        let seam = chunk.len().min(BEHIND + AHEAD);
        self.kept.extend_from_slice(&chunk[..seam]);
        let mut kept = std::mem::take(&mut self.kept);
        self.scan(&kept, kept.len().saturating_sub(AHEAD));
        if seam < chunk.len() {
            let start = self.start;
            self.start += (kept.len() - seam) as u64;
            self.scan(chunk, chunk.len().saturating_sub(AHEAD));
            let keep = chunk.len().min(BEHIND + AHEAD);
            self.start += (chunk.len() - keep) as u64;
            debug_assert!(self.start >= start);
            kept.clear();
            kept.extend_from_slice(&chunk[chunk.len() - keep..]);
        } else {
            let cut = kept.len().saturating_sub(BEHIND + AHEAD);
            kept.drain(..cut);
            self.start += cut as u64;
        }
        self.kept = kept;
        self.report.scanned_bytes += chunk.len() as u64;
    }

    /// Ends the scan.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let kept = std::mem::take(&mut self.kept);
        self.scan(&kept, kept.len());
        self.report
    }

    /// Looks at the stops of `text`, which starts at `self.start`, before `end`.
    fn scan(&mut self, text: &[u8], end: usize) {
        let mut at = usize::try_from(self.next.saturating_sub(self.start)).unwrap_or(usize::MAX);
        while at < end {
            let stop = text[at..end].iter().position(|byte| STOPS[usize::from(*byte)]);
            let Some(stop) = stop else {
                at = end;
                break;
            };
            at += stop;
            let (seen, next) = look(text, at);
            let offset = |seen: &Seen| self.start + seen.from as u64;
            // What stands before the last finding's end is part of it.
            if let Some(seen) = seen.filter(|seen| offset(seen) >= self.seen) {
                let (Seen { kind, from, to }, offset) = (seen, offset(&seen));
                self.seen = self.start + to as u64;
                self.report.add(Finding { offset, length: (to - from) as u64, kind });
            }
            at = next;
        }
        self.next = self.next.max(self.start + at as u64);
    }
}

/// What stands at a stop, and where to go on.
fn look(text: &[u8], at: usize) -> (Option<Seen>, usize) {
    // No more than a chunk's seam holds, so that cuts change nothing.
    let window = &text[at.saturating_sub(BEHIND)..text.len().min(at + AHEAD)];
    let place = at.min(BEHIND);
    let seen = match window[place] {
        b'@' => email::at(window, place),
        b':' => ip::v6(window, place),
        _ => {
            let number = || number::at(window, place);
            iban::at(window, place).or_else(|| ip::v4(window, place)).or_else(number)
        }
    };
    let shift = at - place;
    let seen = seen.map(|seen| Seen { from: seen.from + shift, to: seen.to + shift, ..seen });
    let next = match (seen, window[place]) {
        (Some(seen), _) => seen.to.max(at + 1),
        // What a colon names stands right behind it: `ssn:123-45-6789`.
        (None, b'@' | b':') => at + 1,
        (None, _) => at + run(&window[place..]),
    };
    (seen, next)
}

/// Length of the letters and digits that a text begins with.
fn run(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(text.len())
}
