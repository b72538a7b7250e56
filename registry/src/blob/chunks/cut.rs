//! Cuts a stream of bytes into chunks where its content says so.

use bytes::Bytes;
use domain::limit;
use fastcdc::v2020::FastCDC;
use rustix::buffer::spare_capacity;
use std::{io, os::fd::AsFd};

/// Bytes that are read together.
const BLOCK: usize = 8 << 20;
const MAX: usize = limit::CHUNK_MAX.0 as usize;

/// What was read together: whole chunks, one after another.
#[derive(Clone, Debug)]
pub struct Block {
    /// All of it.
    pub bytes: Bytes,
    /// Its chunks, which share its memory.
    pub chunks: Vec<Bytes>,
}

/// Reads a file as blocks of chunks. Equal bytes are cut equally wherever they stand, but for the
/// chunks at the edges of what is equal.
pub struct Cutter<F> {
    file: F,
    rest: Bytes,
    ended: bool,
}

impl<F: AsFd> Cutter<F> {
    /// Begins where the file stands.
    pub fn new(file: F) -> Self {
        Self { file, rest: Bytes::new(), ended: false }
    }

    /// The next chunks; none at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_block(&mut self) -> io::Result<Option<Block>> {
        let mut buffer = Vec::with_capacity(BLOCK + MAX);
        buffer.extend_from_slice(&self.rest);
        while !self.ended && buffer.len() < BLOCK {
            match rustix::io::read(&self.file, spare_capacity(&mut buffer)) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(why) => return Err(why.into()),
            }
        }
        let cuts = cuts(&buffer, self.ended);
        let whole = Bytes::from(buffer);
        let end = cuts.last().copied().unwrap_or_default();
        self.rest = whole.slice(end..);
        if end == 0 {
            return Ok(None);
        }
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let chunks = starts.zip(&cuts).map(|(start, end)| whole.slice(start..*end)).collect();
        Ok(Some(Block { bytes: whole.slice(..end), chunks }))
    }
}

/// Where chunks end. The last one is left open while more may follow.
fn cuts(bytes: &[u8], ended: bool) -> Vec<usize> {
    let length = |bytes: domain::Bytes| bytes.0 as u32;
    let (min, usual) = (length(limit::CHUNK_MIN), length(limit::CHUNK_USUAL));
    let cutter = FastCDC::new(bytes, min, usual, length(limit::CHUNK_MAX));
    let mut cuts = Vec::with_capacity(bytes.len() / min as usize + 1);
    let mut at = 0;
    while at < bytes.len() && (ended || bytes.len() - at >= MAX) {
        at = cutter.cut(at, bytes.len() - at).1;
        cuts.push(at);
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::chunks::ChunkName;
    use std::{
        collections::BTreeSet,
        io::{Seek, Write},
    };

    fn noise(len: usize, mut state: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for word in bytes.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
        }
        bytes
    }

    fn cut(bytes: &[u8]) -> Vec<Bytes> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let mut cutter = Cutter::new(&file);
        let mut chunks = Vec::new();
        while let Some(block) = cutter.next_block().unwrap() {
            assert_eq!(block.chunks.concat(), block.bytes);
            chunks.extend(block.chunks);
        }
        chunks
    }

    #[test]
    fn the_chunks_of_a_file_are_the_file() {
        for len in [0, 1, 400_000, BLOCK - 1, BLOCK, 2 * BLOCK + 12_345] {
            let bytes = noise(len, 7);
            let chunks = cut(&bytes);
            assert_eq!(chunks.concat(), bytes);
            assert!(chunks.iter().all(|chunk| chunk.len() <= MAX && !chunk.is_empty()));
        }
    }

    #[test]
    fn where_a_block_was_read_decides_no_cut() {
        let bytes = noise(20 << 20, 3);
        let at_once: Vec<_> = cuts(&bytes, true);
        let lens = cut(&bytes).iter().map(Bytes::len).collect::<Vec<_>>();
        let ends: Vec<_> = lens
            .iter()
            .scan(0, |end, len| {
                *end += len;
                Some(*end)
            })
            .collect();
        assert_eq!(ends, at_once);
    }

    #[test]
    fn bytes_that_shift_are_found_again_and_a_change_costs_few_chunks() {
        let bytes = noise(24 << 20, 9);
        let names = |bytes: &[u8]| -> BTreeSet<ChunkName> {
            cut(bytes).iter().map(|chunk| ChunkName::of(chunk)).collect()
        };
        let before = names(&bytes);
        let shifted = [&b"a longer header"[..], &bytes].concat();
        assert!(names(&shifted).difference(&before).count() <= 2);
        let mut changed = bytes.clone();
        changed[(10 << 20)..(12 << 20)].fill(1);
        let more = names(&changed).difference(&before).count();
        assert!(more <= 7, "{more} chunks of {}", before.len());
    }
}
