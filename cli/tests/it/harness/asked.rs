//! What is asked of a service that a test plays.

use serde_json::Value;
use std::{io::Read, net::TcpStream};

/// Reads one HTTP request whose body is JSON: all of its text, and the body. None if the caller goes
/// away before it is whole.
pub fn question(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    let mut part = [0; 8_192];
    loop {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return None,
            Ok(size) => bytes.extend_from_slice(&part[..size]),
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body =
            text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
        if let Some(body) = body {
            return Some((text, body));
        }
    }
}
