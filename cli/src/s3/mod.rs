//! A bucket of S3, or of a store that speaks as S3 does.
//!
//! Who we are is told by the environment (`AWS_ACCESS_KEY_ID` and the rest) or by the machine that
//! we run on, never by an argument.

mod lock;
mod place;
mod remote;

pub use lock::{Lock, LockMode, Until};
pub use place::Place;
pub use remote::ServerBucket;

use crate::fault::{Fault, Kind};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::Digest;
use futures::TryStreamExt;
use lock::Locking;
use object_store::{
    ObjectStore, PutMultipartOptions, PutOptions, RetryConfig, WriteMultipart,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum},
    client::{HttpClient, HttpConnector, HttpRequestBody},
    path::Path as Key,
    signer::Signer,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    time::Duration,
};

/// Files up to this size are put whole; others in parts of this size.
const PART: usize = 16 << 20;
/// Parts of one file at most: larger files have larger parts. S3 takes 10,000.
const PARTS_MAX: u64 = 9_000;
/// Parts of one file that are on their way.
const PARTS_AT_ONCE: usize = 4;
/// How long a name of an object is good for that is made for one request.
const MOMENT: Duration = Duration::from_secs(60);

/// A place in a bucket.
pub struct Bucket {
    place: Place,
    store: AmazonS3,
    client: HttpClient,
    locking: Locking,
}

fn fault(place: &Place, why: &object_store::Error) -> Fault {
    use object_store::Error as E;
    let text = chain(why);
    let said = code(&text);
    let detail = format!("{place}: {}", said.unwrap_or(&text));
    match (why, said) {
        (E::NotFound { .. }, _) | (_, Some("NoSuchBucket" | "NoSuchKey")) => {
            Fault::not_found(detail).hint("name a bucket and a prefix that exist")
        }
        (E::Unauthenticated { .. } | E::PermissionDenied { .. }, _)
        | (_, Some("AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch")) => {
            Fault::new(Kind::NotAuthorised, "bucket", detail)
                .hint("set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION")
        }
        _ => Fault::new(Kind::Unavailable, "bucket", detail)
            .hint("check AWS_ENDPOINT_URL, AWS_REGION and the credentials; it is safe to repeat"),
    }
}

/// What the store calls a fault, where it says: listing gives it in the text alone.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

/// Refuses the name of a store that none can have.
fn check_endpoint(endpoint: &str) -> Result<(), Fault> {
    let parsed: Option<http::Uri> = endpoint.parse().ok();
    let host = parsed.as_ref().filter(|it| it.scheme().is_some()).and_then(http::Uri::host);
    if host.is_some_and(|host| !host.is_empty()) {
        return Ok(());
    }
    let detail = format!("AWS_ENDPOINT_URL is `{endpoint}`, which names no store");
    Err(Fault::usage("bucket", detail).hint("write it like https://s3.example.org:9000"))
}

impl Bucket {
    /// A place in a bucket, with what everything written there is locked with.
    ///
    /// # Errors
    /// When the environment says nothing that a client can be made of.
    pub fn open(place: Place, lock: Option<Lock>) -> Result<Self, Fault> {
        Self::open_with(place, lock, RetryConfig::default())
    }

    /// The same, for who waits so long for an answer.
    ///
    /// # Errors
    /// As above.
    pub fn open_with(place: Place, lock: Option<Lock>, retry: RetryConfig) -> Result<Self, Fault> {
        let wrong = |why: object_store::Error| fault(&place, &why);
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&place.bucket)
            .with_retry(retry)
            .with_checksum_algorithm(Checksum::SHA256);
        if let Some(endpoint) = builder.get_config_value(&AmazonS3ConfigKey::Endpoint) {
            check_endpoint(&endpoint)?;
        }
        let region = builder.get_config_value(&AmazonS3ConfigKey::Region);
        let region = region.unwrap_or_else(|| "us-east-1".into());
        builder = builder.with_region(&region);
        let plain = builder.clone().build().map_err(wrong)?;
        let locking = Locking { lock, credentials: plain.credentials().clone(), region };
        let store = builder
            .with_credentials(locking.credentials.clone())
            .with_http_connector(locking.clone())
            .build()
            .map_err(wrong)?;
        let bare = Locking { lock: None, ..locking.clone() };
        let options = object_store::ClientOptions::new().with_allow_http(true);
        let client = bare.connect(&options).map_err(wrong)?;
        Ok(Self { place, store, client, locking })
    }

    fn key(&self, name: &str) -> Key {
        match self.place.prefix.as_str() {
            "" => Key::from(name),
            prefix => Key::from(format!("{prefix}/{name}")),
        }
    }

    fn fault(&self, why: &object_store::Error) -> Fault {
        fault(&self.place, why)
    }

    /// Names below a folder, without the prefix, with their sizes.
    ///
    /// # Errors
    /// When the bucket cannot be listed.
    pub async fn list(&self, folder: &str) -> Result<BTreeMap<String, u64>, Fault> {
        let (below, all) = (self.key(folder), self.key(""));
        let found: Vec<_> =
            self.store.list(Some(&below)).try_collect().await.map_err(|why| self.fault(&why))?;
        let name = |key: &Key| {
            let parts: Vec<_> =
                key.prefix_match(&all)?.map(|part| part.as_ref().to_owned()).collect();
            Some(parts.join("/"))
        };
        Ok(found.iter().filter_map(|it| Some((name(&it.location)?, it.size))).collect())
    }

    /// Puts a file. One of a known digest must have it. The store checks what arrives against
    /// SHA-256.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read, or the bucket refuses.
    pub async fn put(&self, name: &str, path: &Path, known: Option<Digest>) -> Result<u64, Fault> {
        let local = |why: std::io::Error| Fault::file(path, &why);
        let size = fs::metadata(path).map_err(local)?.len();
        let got = if size <= PART as u64 {
            let bytes = fs::read(path).map_err(local)?;
            let got = Digest::of(&bytes);
            check(path, got, known)?;
            let key = self.key(name);
            let put = self.store.put_opts(&key, bytes.into(), PutOptions::default()).await;
            put.map_err(|why| self.fault(&why))?;
            got
        } else {
            self.put_in_parts(name, path, known).await?
        };
        check(path, got, known).map(|()| size)
    }

    async fn put_in_parts(
        &self,
        name: &str,
        path: &Path,
        known: Option<Digest>,
    ) -> Result<Digest, Fault> {
        let local = |why: std::io::Error| Fault::file(path, &why);
        let mut file = File::open(path).map_err(local)?;
        let key = self.key(name);
        let upload = self.store.put_multipart_opts(&key, PutMultipartOptions::default()).await;
        let upload = upload.map_err(|why| self.fault(&why))?;
        let size = file.metadata().map_err(local)?.len();
        let part = PART.max(usize::try_from(size.div_ceil(PARTS_MAX)).unwrap_or(usize::MAX));
        let mut out = WriteMultipart::new_with_chunk_size(upload, part);
        let sent = self.send_parts(&mut out, (&mut file, path)).await;
        let checked = sent.and_then(|got| check(path, got, known).map(|()| got));
        match checked {
            Ok(got) => out.finish().await.map(|_| got).map_err(|why| self.fault(&why)),
            Err(fault) => {
                // Nothing of it is left that would be paid for.
                let _ = out.abort().await;
                Err(fault)
            }
        }
    }

    async fn send_parts(
        &self,
        out: &mut WriteMultipart,
        (file, path): (&mut File, &Path),
    ) -> Result<Digest, Fault> {
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            let more = file.read(&mut piece).map_err(|why| Fault::file(path, &why))?;
            if more == 0 {
                return Ok(Digest(hasher.finalize().into()));
            }
            hasher.update(&piece[..more]);
            out.wait_for_capacity(PARTS_AT_ONCE).await.map_err(|why| self.fault(&why))?;
            out.write(&piece[..more]);
        }
    }

    /// Fetches an object into a file, which is there whole or not at all.
    ///
    /// # Errors
    /// When it is not there or is damaged, or the disk refuses.
    pub async fn get(&self, name: &str, path: &Path, known: Option<Digest>) -> Result<u64, Fault> {
        let local = |why: std::io::Error| Fault::file(path, &why);
        let found = self.store.get_opts(&self.key(name), Default::default()).await;
        let mut pieces = found.map_err(|why| self.fault(&why))?.into_stream();
        let folder = path.parent().unwrap_or(path);
        fs::create_dir_all(folder).map_err(local)?;
        let part = path.with_extension("part");
        let mut file = File::create(&part).map_err(local)?;
        let (mut hasher, mut size) = (Sha256::new(), 0);
        while let Some(piece) = pieces.try_next().await.map_err(|why| self.fault(&why))? {
            hasher.update(&piece);
            size += piece.len() as u64;
            file.write_all(&piece).map_err(local)?;
        }
        file.sync_all().map_err(local)?;
        let object = format!("{}/{name}", self.place);
        check(Path::new(&object), Digest(hasher.finalize().into()), known)?;
        fs::rename(&part, path).map_err(local)?;
        Ok(size)
    }

    /// Locks an object that is there already, for no less than it was.
    ///
    /// # Errors
    /// When the bucket refuses.
    pub async fn renew_lock(&self, name: &str) -> Result<(), Fault> {
        let Some(lock) = &self.locking.lock else { return Ok(()) };
        let refused = |why: String| {
            let detail = format!("{}/{name}: its lock was not renewed: {why}", self.place);
            Fault::new(Kind::Unavailable, "lock", detail).hint("it is safe to repeat")
        };
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
             <RetainUntilDate>{}</RetainUntilDate></Retention>",
            lock.mode.word(),
            lock.until.text()
        );
        let key = self.key(name);
        // Where it is, as the client has it; the signature in the query makes room for our own.
        let url = self.store.signed_url(http::Method::GET, &key, MOMENT);
        let mut url = url.await.map_err(|why| self.fault(&why))?;
        url.set_query(Some("retention"));
        let digest = Digest::of(body.as_bytes());
        let request = http::Request::put(url.as_str())
            .header("content-type", "application/xml")
            .header("content-length", body.len())
            .header("x-amz-checksum-sha256", STANDARD.encode(digest.0))
            .body(HttpRequestBody::from(body));
        let mut request = request.map_err(|why| refused(why.to_string()))?;
        let signed = self.locking.sign(&mut request).await;
        signed.map_err(|why| refused(why.to_string()))?;
        let answer = self.client.execute(request).await;
        let answer = answer.map_err(|why| refused(why.to_string()))?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(refused(answer.status().to_string())),
        }
    }
}

/// A fault with what caused it, in one line.
fn chain(why: &dyn std::error::Error) -> String {
    let mut text = why.to_string();
    let mut next = why.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn check(path: &Path, got: Digest, known: Option<Digest>) -> Result<(), Fault> {
    let Some(wanted) = known.filter(|wanted| *wanted != got) else { return Ok(()) };
    let detail = format!("{} is damaged: it has SHA-256 {got}, not {wanted}", path.display());
    Err(Fault::mismatch("damaged_backup", detail).hint("take it from another copy of the backup"))
}
