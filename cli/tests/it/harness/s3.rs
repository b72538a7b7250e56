//! An emulator of S3: it proves our code over real HTTP, not AWS.

use super::{ASSAY, cluster::free_port, process, said, until};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

/// The emulator, as a process of its own.
pub struct Store {
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
    pub fn start() -> Self {
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
    pub fn call(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> String {
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

    /// What tells a program of it.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ALLOW_HTTP", "true".into()),
        ]
    }

    /// Makes a bucket with Object Lock.
    pub fn bucket(&self, name: &str) {
        let locked = "x-amz-bucket-object-lock-enabled: true\r\n";
        let made = self.call("PUT", &format!("/{name}"), locked, b"");
        assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    }

    pub fn assay(&self, words: &[&str]) -> Output {
        Command::new(ASSAY).args(words).envs(self.environment()).output().unwrap()
    }

    pub fn ok(&self, words: &[&str]) -> Value {
        let output = self.assay(&[&["--json"], words].concat());
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
