//! An emulator of S3: it proves our code over real HTTP, not AWS.

use super::{ASSAY, emulator::Emulator, said};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Output},
};

pub struct Store(Emulator);

impl Store {
    /// Starts it; its caller has a cluster, and so is alone.
    pub fn start() -> Self {
        Self(Emulator::start("s3"))
    }

    /// Makes one request, as AWS's own tools do; returns the answer with its head.
    pub fn call(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> String {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}authorization: AWS4-HMAC-SHA256 \
             Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            self.0.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.0.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What tells a program of it.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.0.address)),
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
