//! A bucket as a server's store of blobs: calls that block, made on threads of the bucket's own.

use super::{Bucket, Lock, LockMode, PART, Place, Until, chain, code};
use crate::fault::Fault;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutOptions, RetryConfig};
use registry::blob::remote::Remote;
use std::{
    fmt,
    io::{self, Read},
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::runtime::{Handle, Runtime};

/// Objects that are on their way together.
const AT_ONCE: usize = 16;
/// Threads that talk to the bucket: they only wait for it, and sign.
const THREADS: usize = 2;
/// Pause before a lock is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Time after which a request is given up, with its repetitions.
const PATIENCE: Duration = Duration::from_secs(30);

/// One server's folder in a bucket.
pub struct ServerBucket {
    bucket: Arc<Bucket>,
    lock: Option<Duration>,
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

impl fmt::Debug for ServerBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerBucket").field(&self.bucket.place).finish()
    }
}

impl Drop for ServerBucket {
    fn drop(&mut self) {
        // Who drops it may be a task, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A fault of the store: what is not there is told from what cannot be asked now.
fn fault(place: &Place, name: &str, why: &object_store::Error) -> io::Error {
    let text = chain(why);
    let kind = match code(&text) {
        Some("NoSuchKey") => io::ErrorKind::NotFound,
        // Whatever else says "not found" is not the store: something in between.
        _ => io::ErrorKind::ConnectionAborted,
    };
    let said = code(&text).unwrap_or(&text);
    io::Error::new(kind, format!("{place}/{name}: {said}"))
}

fn of_fault(why: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why.detail)
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server is ending")
}

/// Does work on the bucket's threads and waits for it. Not through the runtime of who calls: that
/// may be one of its tasks.
fn wait<T: Send + 'static>(
    handle: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let (done, wait) = mpsc::sync_channel(1);
    handle.spawn(async move {
        let _ = done.send(work.await);
    });
    wait.recv().map_err(|_| ended())
}

impl ServerBucket {
    /// Opens a place, where everything is locked for so long if at all.
    ///
    /// # Errors
    /// When the environment says nothing that a client can be made of.
    pub fn open(place: Place, lock: Option<(LockMode, Duration)>) -> io::Result<Self> {
        let retry = RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() };
        let of = |(mode, time)| Lock { mode, until: Until::For(time) };
        let opened = Bucket::open_with(place, lock.map(of), retry);
        let bucket =
            opened.map_err(|why| io::Error::new(io::ErrorKind::Unsupported, why.detail))?;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(THREADS).thread_name("bucket").enable_all().build()?;
        let lock = lock.map(|(_, time)| time);
        Ok(Self { bucket: Arc::new(bucket), lock, runtime: Some(runtime) })
    }

    fn handle(&self) -> io::Result<&Handle> {
        self.runtime.as_ref().map(Runtime::handle).ok_or_else(ended)
    }

    /// Does something with the bucket.
    fn with<T, F>(&self, work: impl FnOnce(Arc<Bucket>) -> F) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        wait(self.handle()?, work(self.bucket.clone()))?
    }
}

impl Remote for ServerBucket {
    fn place(&self) -> String {
        // A bucket of that name in another store is another place.
        match std::env::var("AWS_ENDPOINT_URL") {
            Ok(endpoint) => format!("{} at {endpoint}", self.bucket.place),
            Err(_) => self.bucket.place.to_string(),
        }
    }

    fn put(&self, name: &str, file: &Path) -> io::Result<()> {
        let (name, file) = (name.to_owned(), file.to_owned());
        self.with(|bucket| async move {
            bucket.put(&name, &file, None).await.map(|_| ()).map_err(of_fault)
        })
    }

    fn put_bytes(&self, objects: Vec<(String, Vec<u8>)>) -> io::Result<()> {
        self.with(|bucket| async move {
            let put = |(name, bytes): (String, Vec<u8>)| {
                let bucket = bucket.clone();
                async move {
                    let (key, options) = (bucket.key(&name), PutOptions::default());
                    let put = bucket.store.put_opts(&key, bytes.into(), options);
                    put.await.map(|_| ()).map_err(|why| fault(&bucket.place, &name, &why))
                }
            };
            stream::iter(objects).map(put).buffer_unordered(AT_ONCE).try_collect().await
        })
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let mut pieces = Pieces {
            handle: self.handle()?.clone(),
            bucket: self.bucket.clone(),
            name: name.to_owned(),
            next: Some(Next { at: 0, tag: None }),
            piece: Bytes::new(),
        };
        pieces.fetch()?;
        Ok(Box::new(pieces))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.with(|bucket| async move {
            let gone = bucket.store.delete(&bucket.key(&name)).await;
            let gone = gone.map_err(|why| fault(&bucket.place, &name, &why));
            gone.or_else(|why| match why.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(why),
            })
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.with(|bucket| async move {
            let done = bucket.store.rename(&bucket.key(&from), &bucket.key(&to)).await;
            done.map_err(|why| fault(&bucket.place, &from, &why))
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.with(|bucket| async move {
            Ok(bucket.list("").await.map_err(of_fault)?.into_keys().collect())
        })
    }

    fn renew_after(&self) -> Option<Duration> {
        self.lock.map(|time| time / 3)
    }

    fn renew(&self, names: Vec<String>) -> (usize, Option<io::Error>) {
        let all = self.with(|bucket| async move {
            let renew = |name: String| renew(bucket.clone(), name);
            Ok(stream::iter(names).map(renew).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await)
        });
        match all {
            Ok(all) => {
                let done = all.iter().filter(|it| it.is_ok()).count();
                (done, all.into_iter().find_map(Result::err))
            }
            Err(why) => (0, Some(why)),
        }
    }
}

/// Locks one object anew, with a second try: a store is busy at times.
async fn renew(bucket: Arc<Bucket>, name: String) -> io::Result<()> {
    if bucket.renew_lock(&name).await.is_ok() {
        return Ok(());
    }
    tokio::time::sleep(PAUSE).await;
    bucket.renew_lock(&name).await.map_err(of_fault)
}

/// What is to be fetched next of an object.
struct Next {
    at: u64,
    /// What the store calls the version whose beginning was fetched.
    tag: Option<String>,
}

/// An object, piece by piece: each is a request of its own, so that no time bounds them all.
struct Pieces {
    handle: Handle,
    bucket: Arc<Bucket>,
    name: String,
    /// None at its end.
    next: Option<Next>,
    piece: Bytes,
}

impl Pieces {
    /// Fetches the next piece, if there is one.
    fn fetch(&mut self) -> io::Result<()> {
        let Some(Next { at, tag }) = self.next.take() else { return Ok(()) };
        let (bucket, name) = (self.bucket.clone(), self.name.clone());
        let (piece, next) = wait(&self.handle, async move {
            let range = Some(GetRange::Bounded(at..at + PART as u64));
            let options = GetOptions { range, if_match: tag, ..GetOptions::default() };
            let found = match bucket.store.get_opts(&bucket.key(&name), options).await {
                Ok(found) => found,
                // An empty object has no piece at all.
                Err(why) if at == 0 && code(&chain(&why)) == Some("InvalidRange") => {
                    return Ok((Bytes::new(), None));
                }
                Err(why) => return Err(fault(&bucket.place, &name, &why)),
            };
            let (end, size) = (found.range.end, found.meta.size);
            let next = (end < size).then(|| Next { at: end, tag: found.meta.e_tag.clone() });
            let piece = found.bytes().await.map_err(|why| fault(&bucket.place, &name, &why))?;
            Ok((piece, next))
        })??;
        (self.piece, self.next) = (piece, next);
        Ok(())
    }
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && self.next.is_some() && !out.is_empty() {
            self.fetch()?;
        }
        let count = out.len().min(self.piece.len());
        out[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
