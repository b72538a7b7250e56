//! What a store holds, page by page.

use super::{BlobError, BlobStore, away::is_form};
use domain::Digest;
use std::{collections::BTreeSet, fs, io};

impl BlobStore {
    /// Up to `max` blobs after this one, in the order of their digests. What is set aside as
    /// damaged is none of them.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn held(&self, after: Option<Digest>, max: usize) -> Result<Vec<Digest>, BlobError> {
        let mut found = self.packed(|pack| pack.after(after, max));
        for first in after.map_or(0, |digest| digest.0[0])..=u8::MAX {
            found.extend(self.in_folder(first, after)?);
            // All that come later begin with a greater byte.
            let here = found.iter().take_while(|digest| digest.0[0] <= first).count();
            if here >= max {
                break;
            }
        }
        Ok(found.into_iter().take(max).collect())
    }

    fn in_folder(&self, first: u8, after: Option<Digest>) -> Result<BTreeSet<Digest>, BlobError> {
        let dir = self.0.dir.join(format!("{first:02x}"));
        let fault = |source| BlobError::of(&dir, source);
        let entries = match fs::read_dir(&dir) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries.map_err(fault)?,
        };
        let mut found = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(fault)?.file_name();
            let form = name.to_str().and_then(|name| name.split_once('.'));
            let digest = form.filter(|(_, form)| is_form(form));
            let digest = digest.and_then(|(name, _)| name.parse().ok());
            found.extend(digest.filter(|digest| Some(*digest) > after));
        }
        Ok(found)
    }
}
