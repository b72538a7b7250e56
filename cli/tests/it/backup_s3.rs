//! A backup goes to S3 and comes back, locked and verified. The store is an emulator: it proves our
//! code over real HTTP, not AWS.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    ASSAY, User,
    cluster::{Cluster, free_port},
    process, said, until,
};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

/// The emulator, as a process of its own.
struct Store {
    child: Child,
    address: String,
}

impl Drop for Store {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

impl Store {
    /// Starts it, installing it first where it is missing.
    fn start() -> Self {
        let port = free_port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kms-emulator");
        let mut command = Command::new(script);
        command.arg(port.to_string()).arg("s3").stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let store = Self { child, address: format!("127.0.0.1:{port}") };
        until("the emulator of S3 answers", || TcpStream::connect(&store.address).ok().map(|_| ()));
        store
    }

    /// Makes one request, as AWS's own tools do; returns the answer with its head.
    fn call(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> String {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}authorization: AWS4-HMAC-SHA256 \
             Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn assay(&self, words: &[&str]) -> Output {
        let mut command = Command::new(ASSAY);
        command.args(words).env("AWS_ENDPOINT_URL", format!("http://{}", self.address));
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command.env("AWS_REGION", "us-east-1").env("AWS_ALLOW_HTTP", "true").output().unwrap()
    }

    fn ok(&self, words: &[&str]) -> Value {
        let output = self.assay(&[&["--json"], words].concat());
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// A file beyond what is put whole, and a small one.
const WRITE: &str = "head -c 20000000 /dev/urandom > \"$ASSAY_OUTPUT_DIR/weights\"; \
                     echo small > \"$ASSAY_OUTPUT_DIR/notes\"";

#[test]
fn a_backup_goes_to_s3_locked_and_comes_back_whole() {
    let store = Store::start();
    let made = store.call("PUT", "/backups", "x-amz-bucket-object-lock-enabled: true\r\n", b"");
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    let cluster = Cluster::start();
    let user = User { profile: cluster.dir().to_owned() };
    user.ok(&["submit", "--wait", "--name", "one", "--cpus", "0.5", "--", "sh", "-c", WRITE]);
    let (dir, back) = (cluster.path("saved"), cluster.path("back"));
    let (dir, back) = (dir.to_str().unwrap(), back.to_str().unwrap());
    let place = "s3://backups/assay";
    user.ok(&["backup", "take", dir]);

    let lock = ["--lock", "30d", "--lock-mode", "governance"];
    let first = store.ok(&[&["backup", "push", dir, place][..], &lock].concat());
    assert_eq!((&first["schema"], &first["objects"]), (&"backup_push/v1".into(), &first["copied"]));
    let until = first["locked_until"].as_str().unwrap();
    let manifest = fs::read_dir(cluster.path("saved/backups")).unwrap().flatten().next().unwrap();
    let object = format!("/backups/assay/backups/{}", manifest.file_name().to_str().unwrap());
    let head = store.call("HEAD", &object, "", b"").to_lowercase();
    assert!(head.contains("x-amz-object-lock-mode: governance"), "{head}");
    let wanted = format!("x-amz-object-lock-retain-until-date: {}", until.to_lowercase());
    assert!(head.contains(&wanted), "{wanted} in {head}");

    // What is there is not sent again, and its lock is renewed.
    user.run_job("two");
    user.ok(&["backup", "take", dir]);
    let second = store.ok(&[&["backup", "push", dir, place][..], &["--lock", "60d"]].concat());
    let count = |value: &Value, key: &str| value[key].as_u64().unwrap();
    assert!(count(&second, "copied") < count(&second, "objects"), "{second}");
    let artifact = user.json(&["artifact", "show", "a1"]).unwrap();
    let weights = artifact["files"].as_array().unwrap().iter();
    let weights = weights.clone().find(|it| it["path"] == "weights").unwrap()["digest"].clone();
    let weights = weights.as_str().unwrap();
    let object = format!("/backups/assay/blobs/{}/{weights}", &weights[..2]);
    let head = store.call("HEAD", &object, "", b"").to_lowercase();
    let wanted = second["locked_until"].as_str().unwrap().to_lowercase();
    assert!(head.contains(&format!("retain-until-date: {wanted}")), "{wanted} in {head}");

    let fetched = store.ok(&["backup", "pull", place, back]);
    assert_eq!(
        (&fetched["schema"], &fetched["log_index"]),
        (&"backup_pull/v1".into(), &second["log_index"])
    );
    assert_eq!(fetched["objects"], second["objects"]);
    user.ok(&["backup", "verify", back]);
    let again = store.ok(&["backup", "pull", place, back]);
    assert_eq!(again["copied_bytes"], 0, "{again}");

    // A damaged object is named, and the folder is no backup with it.
    let other = cluster.path("other");
    let (other, damaged) = (other.to_str().unwrap(), &object);
    store.call("PUT", damaged, "", b"other bytes");
    let refused = store.assay(&["backup", "pull", place, other]);
    assert_eq!(refused.status.code(), Some(7), "{}", said(&refused));
    assert!(said(&refused).contains(weights), "{}", said(&refused));
    assert!(user.fails(4, &["backup", "verify", other]).contains("no finished backup"));

    let none = store.assay(&["backup", "pull", "s3://backups/nothing", other]);
    assert_eq!(none.status.code(), Some(4), "{}", said(&none));
    let none = store.assay(&["backup", "push", dir, "s3://no-such-bucket/x"]);
    assert_eq!(none.status.code(), Some(4), "{}", said(&none));
    let mut nowhere = Command::new(ASSAY);
    nowhere.args(["backup", "push", dir, place]).env("AWS_ENDPOINT_URL", "http://");
    let nowhere = nowhere.output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{}", said(&nowhere));
    let wrong = store.assay(&["backup", "push", dir, "backups"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
}
