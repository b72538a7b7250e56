//! An emulator of AWS KMS as a process of its own. It proves our code over the SDK's real HTTP
//! path, not AWS.

use super::harness::{alone, emulator::Emulator as Process};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

pub struct Emulator(Process);

impl Emulator {
    /// Starts it.
    pub fn start() -> Self {
        let _alone = alone();
        Self(Process::start("kms"))
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.0.address
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
            self.0.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.0.address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or(Value::Null)
    }
}
