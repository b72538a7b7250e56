//! What is written with one fsync: a head that says what follows, and the bytes.
//!
//! Head and bytes each take whole blocks of the disk. The head ends in its own hash, so that one
//! that was cut short by a crash is none.

use super::direct::{Buffer, aligned};

const MAGIC: [u8; 4] = *b"ACB1";
/// Magic, number of records, length of the head, length of the bytes.
const FIXED: usize = 16;
const RECORD: usize = 1 + 32 + 4 + 4 + 4;
const HASH: usize = 32;

/// What a record says of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A chunk as it is.
    Raw,
    /// A chunk as a zstd frame.
    Zstd,
    /// A list of chunks, by its SHA-256.
    List,
    /// A lease, as the bytes say, that needs the list of this name.
    Pin,
    /// The chunk of this name is no longer here.
    NoChunk,
    /// The list of this name is no longer here, nor is any of its pins.
    NoList,
}

const KINDS: [Kind; 6] =
    [Kind::Raw, Kind::Zstd, Kind::List, Kind::Pin, Kind::NoChunk, Kind::NoList];

/// A record on its way to the disk.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// What it says.
    pub kind: Kind,
    /// Of what.
    pub name: [u8; 32],
    /// Length of what the bytes unpack to.
    pub len: u32,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A record as the head names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub kind: Kind,
    /// Of what.
    pub name: [u8; 32],
    /// Where its bytes begin, counted from the head's first byte.
    pub at: u64,
    /// How many they are.
    pub stored: u32,
    /// Length of what they unpack to.
    pub len: u32,
}

/// What a batch holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its records, in order.
    pub records: Vec<Record>,
    /// Length of the head.
    pub head: u64,
    /// Length of head and bytes.
    pub whole: u64,
}

fn head_len(records: usize) -> u64 {
    aligned((FIXED + records * RECORD + HASH) as u64)
}

/// Lays a batch out in `buffer`, and says where each record is.
pub fn encode(entries: &[Entry<'_>], buffer: &mut Buffer) -> Head {
    let head = head_len(entries.len());
    let body: u64 = entries.iter().map(|entry| entry.bytes.len() as u64).sum();
    let whole = head + aligned(body);
    buffer.set_len(whole as usize);
    let bytes = buffer.bytes_mut();
    let mut records = Vec::with_capacity(entries.len());
    let mut at = head;
    for entry in entries {
        let end = at + entry.bytes.len() as u64;
        bytes[at as usize..end as usize].copy_from_slice(entry.bytes);
        let stored = entry.bytes.len() as u32;
        records.push(Record { kind: entry.kind, name: entry.name, at, stored, len: entry.len });
        at = end;
    }
    bytes[at as usize..].fill(0);
    let (top, _) = bytes.split_at_mut(head as usize);
    top.fill(0);
    top[..4].copy_from_slice(&MAGIC);
    top[4..8].copy_from_slice(&(entries.len() as u32).to_le_bytes());
    top[8..12].copy_from_slice(&(head as u32).to_le_bytes());
    top[12..16].copy_from_slice(&((whole - head) as u32).to_le_bytes());
    for (record, space) in records.iter().zip(top[FIXED..].chunks_exact_mut(RECORD)) {
        let kind = KINDS.iter().position(|kind| *kind == record.kind).unwrap_or_default();
        space[0] = kind as u8;
        space[1..33].copy_from_slice(&record.name);
        space[33..37].copy_from_slice(&((record.at - head) as u32).to_le_bytes());
        space[37..41].copy_from_slice(&record.stored.to_le_bytes());
        space[41..45].copy_from_slice(&record.len.to_le_bytes());
    }
    let end = FIXED + records.len() * RECORD;
    let hash = blake3::hash(&top[..end]);
    top[end..end + HASH].copy_from_slice(hash.as_bytes());
    Head { records, head, whole }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

/// The length of the head that begins with `block`, if one does.
pub fn head_at(block: &[u8]) -> Option<u64> {
    let fixed = block.get(..FIXED)?;
    let head = u64::from(number(&fixed[8..12]));
    let fits = head == head_len(number(&fixed[4..8]) as usize);
    (fixed[..4] == MAGIC && fits).then_some(head)
}

/// Reads a whole head.
pub fn decode(bytes: &[u8]) -> Option<Head> {
    let head = head_at(bytes)?;
    let count = number(&bytes[4..8]) as usize;
    let whole = head + u64::from(number(&bytes[12..16]));
    let end = FIXED + count * RECORD;
    let hash = bytes.get(end..end + HASH)?;
    if blake3::hash(&bytes[..end]).as_bytes() != hash {
        return None;
    }
    let read = |space: &[u8]| {
        let record = Record {
            kind: *KINDS.get(usize::from(space[0]))?,
            name: space[1..33].try_into().ok()?,
            at: head + u64::from(number(&space[33..37])),
            stored: number(&space[37..41]),
            len: number(&space[41..45]),
        };
        (record.at + u64::from(record.stored) <= whole).then_some(record)
    };
    let records = bytes[FIXED..end].chunks_exact(RECORD).map(read).collect::<Option<_>>()?;
    Some(Head { records, head, whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(bytes: &[Vec<u8>]) -> Vec<Entry<'_>> {
        let name = |at: usize| (KINDS[at % KINDS.len()], [at as u8; 32]);
        let named = bytes.iter().enumerate().map(|(at, bytes)| (name(at), bytes));
        named.map(|((kind, name), bytes)| Entry { kind, name, len: 7, bytes }).collect()
    }

    #[test]
    fn a_batch_reads_back_and_each_record_is_where_its_head_says() {
        for count in [0, 1, 90, 91, 500] {
            let bytes: Vec<_> = (0..count).map(|at| vec![at as u8; at * 31 % 5_000]).collect();
            let mut buffer = Buffer::default();
            let head = encode(&entries(&bytes), &mut buffer);
            assert_eq!(decode(buffer.bytes()), Some(head.clone()));
            assert_eq!(head.whole % 4_096 + head.head % 4_096, 0);
            for (record, bytes) in head.records.iter().zip(&bytes) {
                let at = record.at as usize;
                assert_eq!(&buffer.bytes()[at..at + record.stored as usize], bytes);
            }
        }
    }

    #[test]
    fn a_head_that_was_cut_short_or_changed_is_none() {
        let bytes = vec![vec![1; 100]; 200];
        let mut buffer = Buffer::default();
        let head = encode(&entries(&bytes), &mut buffer);
        let whole = buffer.bytes()[..head.head as usize].to_vec();
        assert_eq!(decode(&whole[..4_096]), None);
        for at in [0, 4, 8, 20, 5_000] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(decode(&bytes), None, "byte {at}");
        }
        assert_eq!(head_at(&[0; 4_096]), None);
    }
}
