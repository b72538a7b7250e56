//! An emulator of one of AWS's services, as a process of its own.

use super::{cluster::free_port, process, until};
use std::{
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
    /// Starts that of `kms` or `s3`, installing it first where it is missing. Whoever does so is
    /// alone: until it listens, a cluster of another test may be given the same port.
    pub fn start(service: &str) -> Self {
        let port = free_port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kms-emulator");
        let mut command = Command::new(script);
        command.arg(port.to_string()).arg(service).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let emulator = Self { child, address: format!("127.0.0.1:{port}") };
        until(&format!("the emulator of {service} answers"), || {
            TcpStream::connect(&emulator.address).ok().map(|_| ())
        });
        emulator
    }
}
