//! A client below the command: any bytes to any method.

use super::cluster::Cluster;
use std::path::Path;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// Sends and receives bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, bytes: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use bytes::BufMut;
        out.put_slice(&bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        use bytes::Buf;
        Ok(Some(bytes.copy_to_bytes(bytes.remaining()).to_vec()))
    }
}

/// Where a server listens.
pub fn address(cluster: &Cluster, server: &str) -> String {
    let text = std::fs::read_to_string(cluster.path(&format!("config/{server}.toml"))).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("listen = ")).unwrap();
    line.trim_matches('"').to_owned()
}

/// A connection with the identity `name` in `tls`, or with none.
pub fn channel(address: &str, tls: &Path, name: Option<&str>) -> Channel {
    let read = |file: String| std::fs::read(tls.join(file)).unwrap();
    let mut config =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("ca.pem".into())));
    if let Some(name) = name {
        let (cert, key) = (read(format!("{name}.pem")), read(format!("{name}.key")));
        config = config.identity(Identity::from_pem(cert, key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    endpoint.tls_config(config).unwrap().connect_lazy()
}

/// Calls a method with bytes of our choice.
pub async fn call(channel: &Channel, method: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|fault| Status::from_error(Box::new(fault)))?;
    let path = PathAndQuery::from_maybe_shared(format!("/assay.v1.{method}")).unwrap();
    let request = tonic::Request::new(bytes);
    client.unary(request, path, Raw).await.map(tonic::Response::into_inner)
}

/// The document that a fault of a server carries.
pub fn document(status: &Status) -> serde_json::Value {
    let text = status.metadata().get("assay-error");
    let text = text.unwrap_or_else(|| panic!("a bare fault: {status:?}"));
    serde_json::from_slice(text.as_bytes()).unwrap()
}
