//! An emulator of AWS KMS as a process of its own. It proves our code over the SDK's real HTTP
//! path, not AWS.

use super::harness::{alone, cluster::free_port, process, until};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

pub struct Emulator {
    child: Child,
    pub address: String,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

impl Emulator {
    /// Starts it, installing it first where it is missing.
    pub fn start() -> Self {
        // Until it listens, a cluster of another test may be given the same port.
        let _alone = alone();
        let port = free_port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kms-emulator");
        let mut command = Command::new(script);
        command.arg(port.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let emulator = Self { child, address: format!("127.0.0.1:{port}") };
        until("the emulator of KMS answers", || {
            TcpStream::connect(&emulator.address).ok().map(|_| ())
        });
        emulator
    }

    /// Makes a key for models; returns its id.
    pub fn key(&self) -> String {
        let asked = json!({ "KeyUsage": "SIGN_VERIFY", "KeySpec": "ECC_NIST_P256" });
        let made = self.call("CreateKey", &asked);
        made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }

    /// Makes one call, as AWS's own tools do.
    pub fn call(&self, what: &str, body: &Value) -> Value {
        let body = body.to_string();
        let text = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-amz-json-1.1\r\n\
             x-amz-target: TrentService.{what}\r\nauthorization: AWS4-HMAC-SHA256 Credential=test/\
             20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or(Value::Null)
    }
}
