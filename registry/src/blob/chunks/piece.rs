//! A chunk's bytes on their way, as they are or compressed.

use super::ChunkFault;
use bytes::Bytes;
use domain::{chunks::ChunkName, limit};

/// Bytes that are looked at to see whether compression pays.
const SAMPLE: usize = 64 << 10;
/// Most chunks that are passed on without a look after one that did not shrink.
const ASIDE_MAX: u32 = 64;
/// Lowest and highest level.
const LEVELS: (i32, i32) = (1, 9);

/// How a chunk's bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Raw,
    /// As a zstd frame.
    Zstd,
}

/// A chunk whose bytes are known to be those of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    name: ChunkName,
    len: u32,
    form: Form,
    data: Bytes,
}

impl Piece {
    /// A chunk of bytes that are at hand.
    ///
    /// # Panics
    /// When they are longer than a chunk may be.
    #[must_use]
    pub fn of(bytes: Bytes) -> Self {
        assert!(bytes.len() as u64 <= limit::CHUNK_MAX.0, "chunks are cut before they are named");
        let len = bytes.len() as u32;
        Self { name: ChunkName::of(&bytes), len, form: Form::Raw, data: bytes }
    }

    /// A chunk that came from elsewhere.
    ///
    /// # Errors
    /// When the bytes are not those of the name.
    pub fn checked(name: ChunkName, len: u32, form: Form, data: Bytes) -> Result<Self, ChunkFault> {
        let piece = Self { name, len, form, data };
        let whole = piece.unpacked()?;
        if whole.len() != len as usize || ChunkName::of(&whole) != name {
            return Err(ChunkFault::Mismatch(name));
        }
        Ok(piece)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> ChunkName {
        self.name
    }

    /// Its length, unpacked.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it has no bytes. No chunk of a file is so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How [`Piece::data`] is to be read.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// Its bytes in its form.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Its bytes.
    ///
    /// # Errors
    /// When they cannot be unpacked, or not to its length.
    pub fn unpacked(&self) -> Result<Bytes, ChunkFault> {
        match self.form {
            Form::Raw => Ok(self.data.clone()),
            Form::Zstd => {
                let max = (self.len as usize).min(limit::CHUNK_MAX.0 as usize);
                let whole = zstd::bulk::decompress(&self.data, max);
                whole.map(Bytes::from).map_err(|_| ChunkFault::Mismatch(self.name))
            }
        }
    }

    /// The same chunk, compressed where that pays.
    #[must_use]
    pub fn packed(self, effort: &mut Effort) -> Self {
        let Some(level) = effort.level_for(&self.data) else { return self };
        match zstd::bulk::compress(&self.data, level) {
            Ok(packed) if pays(packed.len(), self.data.len()) => {
                Self { form: Form::Zstd, data: packed.into(), ..self }
            }
            _ => {
                effort.in_vain();
                self
            }
        }
    }
}

/// Whether compression saves a fifth. Weights shrink by a tenth, which is not worth a core's time on
/// the way in and again on the way out. Source: ADR-0027.
fn pays(packed: usize, whole: usize) -> bool {
    packed * 5 < whole * 4
}

/// How much is done to make chunks of one stream smaller.
///
/// Weights do not shrink, and looking at each of them costs: after one that does not, twice as many
/// chunks as before are passed on without a look. The level follows the wire: it rises while what
/// is sent has to wait, and falls while the wire waits for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effort {
    level: i32,
    aside: u32,
    left: u32,
}

impl Default for Effort {
    fn default() -> Self {
        Self { level: LEVELS.0, aside: 0, left: 0 }
    }
}

impl Effort {
    /// The level to compress a chunk with; none where it is to be passed on.
    fn level_for(&mut self, bytes: &[u8]) -> Option<i32> {
        if self.left > 0 {
            self.left -= 1;
            return None;
        }
        let sample = &bytes[bytes.len().saturating_sub(SAMPLE) / 2..];
        let sample = &sample[..sample.len().min(SAMPLE)];
        let small = zstd::bulk::compress(sample, LEVELS.0).map_or(sample.len(), |it| it.len());
        if !pays(small, sample.len()) {
            self.in_vain();
            return None;
        }
        self.aside = 0;
        Some(self.level)
    }

    fn in_vain(&mut self) {
        self.aside = (self.aside * 2).clamp(1, ASIDE_MAX);
        self.left = self.aside;
    }

    /// What was packed had to wait for the wire: there is time to pack it better.
    pub fn waited(&mut self) {
        self.level = (self.level + 1).min(LEVELS.1);
    }

    /// The wire had nothing to send.
    pub fn hurried(&mut self) {
        self.level = (self.level - 1).max(LEVELS.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, mut state: u64) -> Bytes {
        let byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        std::iter::repeat_with(byte).take(len).collect()
    }

    #[test]
    fn a_chunk_that_shrinks_is_packed_and_is_the_same_chunk() {
        let text = Bytes::from(b"loss 0.5\n".repeat(10_000));
        let packed = Piece::of(text.clone()).packed(&mut Effort::default());
        assert_eq!((packed.form(), packed.name()), (Form::Zstd, ChunkName::of(&text)));
        assert!(packed.data().len() < 1_000);
        let (name, len, data) = (packed.name(), packed.len(), packed.data().clone());
        assert_eq!(Piece::checked(name, len, Form::Zstd, data).unwrap().unpacked().unwrap(), text);
    }

    #[test]
    fn what_does_not_shrink_is_looked_at_ever_more_seldom() {
        let mut effort = Effort::default();
        let mut looks = 0;
        for seed in 1..=200 {
            let before = effort.left;
            assert_eq!(Piece::of(noise(100_000, seed)).packed(&mut effort).form(), Form::Raw);
            looks += u32::from(before == 0);
        }
        assert!(looks <= 9, "{looks} looks at 200 chunks");
        assert_eq!(effort.aside, ASIDE_MAX);
    }

    #[test]
    fn the_level_follows_the_wire_within_bounds() {
        let mut effort = Effort::default();
        effort.hurried();
        assert_eq!(effort.level, 1);
        for _ in 0..20 {
            effort.waited();
        }
        assert_eq!(effort.level, 9);
    }

    #[test]
    fn bytes_under_another_name_are_refused() {
        let name = ChunkName::of(b"right");
        for (form, data) in [(Form::Raw, &b"wrong"[..]), (Form::Zstd, b"right"), (Form::Raw, b"")] {
            let fault = Piece::checked(name, 5, form, data.into()).unwrap_err();
            assert!(matches!(fault, ChunkFault::Mismatch(_)), "{fault}");
        }
    }
}
