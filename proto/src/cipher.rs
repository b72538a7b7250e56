//! Which of TLS 1.3's cipher suites are asked for first.

use tokio_rustls::rustls::{CipherSuite, crypto::ring};

/// Has this process ask servers for the suite whose hash processors compute.
///
/// rustls prefers AES-256 with SHA-384. Both keep a connection safe; SHA-384 in software takes a
/// fortieth of a handshake on each side, and a short command is little else. A longer key costs
/// each record more. Call it before the first connection.
pub fn prefer_sha256() {
    let mut provider = ring::default_provider();
    let first = CipherSuite::TLS13_AES_128_GCM_SHA256;
    // Stable: the others keep their order.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != first);
    // An error says that a provider is chosen already: by an earlier call of ours.
    let _ = provider.install_default();
}
