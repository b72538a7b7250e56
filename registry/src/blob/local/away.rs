//! Blobs whose bytes are in a store elsewhere: a file of their name stands for them here.
//!
//! Large ones are there alone. Small ones are there as well as in the pack, which saves a call for
//! each that is read. What is here is there: it is sent first, and deleted there first.

use super::{BlobError, BlobStore, PACKED, PLAIN};
use crate::blob::remote::Remote;
use domain::Digest;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

/// Name endings of what stands for a large blob in either form.
const PLAIN_AWAY: &str = "raw.away";
const PACKED_AWAY: &str = "zst.away";
/// The folder of small blobs elsewhere.
const SMALL: &str = "small";
/// Holds the name of the place that blobs are in.
const PLACE: &str = "place";
/// When all locks were last renewed is when this was written.
const RENEWED: &str = "renewed";
/// Small blobs that are fetched, and names that are renewed, together.
const PAGE: usize = 256;
/// Bytes of one small blob: what the pack holds of one.
const SMALL_MAX: u64 = u32::MAX as u64;

/// What stands for a blob in one of the forms.
pub(super) fn away(form: &str) -> &'static str {
    if form == PLAIN { PLAIN_AWAY } else { PACKED_AWAY }
}

/// Whether a file of this ending stands for a blob.
pub(super) fn is_form(ending: &str) -> bool {
    [PLAIN, PACKED, PLAIN_AWAY, PACKED_AWAY].contains(&ending)
}

/// The name of a large blob elsewhere.
pub(super) fn large(digest: &Digest, form: &str) -> String {
    let name = digest.to_string();
    format!("{}/{name}.{form}", &name[..2])
}

pub(super) fn small(digest: &Digest) -> String {
    let name = digest.to_string();
    format!("{SMALL}/{}/{name}", &name[..2])
}

/// An object that is asked for when the first byte is wanted.
pub(super) struct Lazy {
    remote: Arc<dyn Remote>,
    name: String,
    open: Option<Box<dyn Read + Send>>,
}

impl Lazy {
    pub(super) fn new(remote: &Arc<dyn Remote>, name: String) -> Self {
        Self { remote: remote.clone(), name, open: None }
    }
}

impl Read for Lazy {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(open) = &mut self.open {
            return open.read(out);
        }
        let open = self.remote.read(&self.name).map_err(|why| match why.kind() {
            // What stands for it says that it is there: it is damaged as one cut short is.
            io::ErrorKind::NotFound => io::Error::new(io::ErrorKind::UnexpectedEof, why),
            _ => why,
        })?;
        self.open.insert(open).read(out)
    }
}

fn write_synced(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let beside = dir.join("tmp").join(name);
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, dir.join(name))?;
    File::open(dir)?.sync_all()
}

fn remove_synced(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

impl BlobStore {
    /// Opens the store, with its bytes elsewhere if a place is named. A disk that has not seen that
    /// place yet is told of what is there, so that a server whose disk is lost finds its blobs
    /// again; and what is on the disk is moved there.
    ///
    /// # Errors
    /// When the folder or the place cannot be used, or the blobs are in another place.
    pub fn open_with(dir: &Path, remote: Option<Arc<dyn Remote>>) -> Result<Self, BlobError> {
        let store = Self::opened(dir, remote)?;
        let path = dir.join(PLACE);
        let known = match fs::read_to_string(&path) {
            Ok(known) => Some(known.trim_end().to_owned()),
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            Err(why) => return Err(BlobError::of(&path, why)),
        };
        let asked = store.0.remote.as_ref().map(|remote| remote.place());
        match (known, asked) {
            (None, None) => {}
            (Some(known), asked) if asked.as_ref() != Some(&known) => {
                let asked = asked.unwrap_or_else(|| "none".into());
                return Err(BlobError::OtherPlace { dir: dir.to_owned(), known, asked });
            }
            (Some(_), _) => {}
            (None, Some(place)) => {
                let there = store.adopt()?;
                store.send(&there)?;
                write_synced(dir, PLACE, &place).map_err(|why| BlobError::of(&path, why))?;
            }
        }
        Ok(store)
    }

    pub(super) fn away_fault(&self, source: io::Error) -> BlobError {
        let place = self.0.remote.as_ref().map(|remote| remote.place());
        BlobError::Away { place: place.unwrap_or_default(), source }
    }

    /// Lets what is elsewhere stand here. Gives the small ones of them.
    fn adopt(&self) -> Result<BTreeSet<Digest>, BlobError> {
        let Some(remote) = &self.0.remote else { return Ok(BTreeSet::new()) };
        let (mut gathered, mut large, mut there) = (Vec::new(), Vec::new(), BTreeSet::new());
        for name in remote.list().map_err(|why| self.away_fault(why))? {
            let last = name.rsplit('/').next().unwrap_or(&name);
            let (digest, form) = last.split_once('.').unwrap_or((last, ""));
            let Ok(digest) = digest.parse::<Digest>() else { continue };
            match form {
                "" if name.starts_with(SMALL) => gathered.push(digest),
                PLAIN | PACKED => large.push((digest, away(form))),
                _ => continue,
            }
        }
        for (digest, form) in large {
            let path = self.file(&digest, form);
            self.stand_in(&path).map_err(|why| BlobError::of(&path, why))?;
        }
        for page in gathered.chunks(PAGE) {
            let mut blobs = Vec::new();
            for digest in page {
                let mut bytes = Vec::new();
                let found = remote.read(&small(digest));
                let read = found.and_then(|it| it.take(SMALL_MAX).read_to_end(&mut bytes));
                read.map_err(|why| self.away_fault(why))?;
                // One that is damaged comes from another server.
                if Digest::of(&bytes) == *digest {
                    there.insert(*digest);
                    blobs.push((*digest, bytes));
                }
            }
            self.0.pack.write().expect("no holder of this lock can panic").append(&blobs)?;
        }
        Ok(there)
    }

    /// Sends what is on this disk, but for what is `there`.
    fn send(&self, there: &BTreeSet<Digest>) -> Result<(), BlobError> {
        let Some(remote) = &self.0.remote else { return Ok(()) };
        let mut after = None;
        loop {
            let page = self.held(after, PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            let mut objects = Vec::new();
            for digest in &page {
                if let Some(bytes) = self.packed(|pack| pack.read(digest))? {
                    let new = !there.contains(digest);
                    objects.extend(new.then(|| (small(digest), bytes)));
                    continue;
                }
                for form in [PLAIN, PACKED] {
                    let path = self.file(digest, form);
                    if path.exists() {
                        let sent = remote.put(&large(digest, form), &path);
                        sent.map_err(|why| self.away_fault(why))?;
                        let made = self.stand_in(&self.file(digest, away(form)));
                        let moved = made.and_then(|()| fs::remove_file(&path));
                        moved.map_err(|why| BlobError::of(&path, why))?;
                    }
                }
            }
            remote.put_bytes(objects).map_err(|why| self.away_fault(why))?;
        }
    }

    /// Makes the file that stands for a blob; durable when it returns.
    pub(super) fn stand_in(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().expect("the path has a folder");
        if !folder.exists() {
            fs::create_dir_all(folder)?;
            File::open(&self.0.dir)?.sync_all()?;
        }
        File::create(path)?.sync_all()?;
        File::open(folder)?.sync_all()
    }

    /// Small blobs go elsewhere before they are here: what is here is there.
    pub(super) fn put_away(&self, blobs: &[(Digest, Vec<u8>)]) -> Result<(), BlobError> {
        let Some(remote) = &self.0.remote else { return Ok(()) };
        // What was to go may have gone there already.
        let here = |digest: &Digest| self.packed(|pack| pack.has(digest)) && self.has(digest);
        let new = blobs.iter().filter(|(digest, _)| !here(digest));
        let objects: Vec<_> = new.map(|(digest, it)| (small(digest), it.clone())).collect();
        match objects.is_empty() {
            true => Ok(()),
            false => remote.put_bytes(objects).map_err(|why| self.away_fault(why)),
        }
    }

    /// The large blob of this digest elsewhere, with its form.
    pub(super) fn away(&self, digest: &Digest) -> Option<(&Arc<dyn Remote>, &'static str)> {
        let remote = self.0.remote.as_ref()?;
        let form = [PLAIN, PACKED].into_iter().find(|it| self.file(digest, away(it)).exists());
        form.map(|form| (remote, form))
    }

    /// Deletes what is elsewhere of a blob; whether there was any.
    pub(super) fn delete_away(&self, blob: &Digest) -> Result<bool, BlobError> {
        let Some(remote) = &self.0.remote else { return Ok(false) };
        let gone = |name: &str| remote.delete(name).map_err(|why| self.away_fault(why));
        if self.packed(|pack| pack.has(blob)) {
            gone(&small(blob))?;
        }
        let Some((_, form)) = self.away(blob) else { return Ok(false) };
        gone(&large(blob, form))?;
        let path = self.file(blob, away(form));
        remove_synced(&path).map_err(|why| BlobError::of(&path, why))?;
        Ok(true)
    }

    /// Keeps what was found damaged elsewhere under another name, unless it was stored anew `since`
    /// it was looked at. Where that fails, nothing stands for it here all the same, and what comes
    /// in its place takes its name.
    pub(super) fn set_aside_away(&self, digest: &Digest, since: SystemTime) {
        let _held = self.0.busy.hold([*digest]);
        let Some((remote, form)) = self.away(digest) else { return };
        let path = self.file(digest, away(form));
        if fs::metadata(&path).and_then(|it| it.modified()).is_ok_and(|at| at > since) {
            return;
        }
        let name = large(digest, form);
        let _ = remote.rename(&name, &format!("{name}.damaged"));
        let _ = remove_synced(&path);
    }

    /// Renews the locks of all that is kept elsewhere, if it is time. Gives how many there were.
    /// One that cannot be renewed does not keep the others from it, and has two more turns before
    /// its lock is over.
    ///
    /// # Errors
    /// The first that cannot be renewed. Where none can, all are tried again.
    pub fn renew_locks(&self) -> Result<usize, BlobError> {
        let Some(remote) = &self.0.remote else { return Ok(0) };
        let Some(period) = remote.renew_after() else { return Ok(0) };
        let path = self.0.dir.join(RENEWED);
        // Under other locks, or in another place, what was renewed says nothing.
        let terms = format!("{} s in {}", period.as_secs(), remote.place());
        let same = fs::read_to_string(&path).is_ok_and(|text| text == terms);
        let age = fs::metadata(&path).and_then(|it| it.modified()).ok();
        let age = age.and_then(|at| SystemTime::now().duration_since(at).ok());
        if same && age.is_some_and(|age| age < period) {
            return Ok(0);
        }
        let (mut after, mut count, mut fault) = (None, 0, None);
        loop {
            let page = self.held(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            let kept = page.iter().filter(|digest| !self.is_doomed(digest));
            let name = |digest: &Digest| match self.away(digest) {
                Some((_, form)) => Some(large(digest, form)),
                None => self.packed(|pack| pack.has(digest)).then(|| small(digest)),
            };
            let (renewed, first) = remote.renew(kept.filter_map(name).collect());
            count += renewed;
            fault = fault.or(first);
            if count == 0 && fault.is_some() {
                break;
            }
        }
        if count > 0 || fault.is_none() {
            write_synced(&self.0.dir, RENEWED, &terms).map_err(|why| BlobError::of(&path, why))?;
        }
        fault.map_or(Ok(count), |why| Err(self.away_fault(why)))
    }
}
