//! The platform's signing proxy: a small HTTP server in this process stands for it.

use super::{
    harness::{cluster::Cluster, until as until_found},
    signer, submit, until,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::port::Signer;
use registry::{
    seal::bundle,
    sign::local::{LocalSigner, create_model},
};
use serde_json::json;
use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

struct Proxy {
    address: String,
    forges: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(key: LocalSigner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy = Self { address, forges: Arc::default(), asked: Arc::default() };
        let (forges, asked) = (proxy.forges.clone(), proxy.asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                asked.fetch_add(1, Ordering::SeqCst);
                serve(stream.unwrap(), &key, forges.load(Ordering::SeqCst));
            }
        });
        proxy
    }
}

fn serve(mut stream: TcpStream, key: &LocalSigner, forges: bool) {
    let Some((text, question)) = crate::harness::asked::question(&mut stream) else { return };
    assert!(text.to_lowercase().contains("authorization: bearer sesame"), "{text}");
    let payload = STANDARD.decode(question["payload_b64"].as_str().unwrap()).unwrap();
    let message = if forges { &b"another"[..] } else { &payload };
    let signature = STANDARD.encode(key.sign(message).unwrap());
    let body = json!({ "signature_b64": signature, "signer_id": question["key_id"] }).to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
    let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes());
}

#[test]
fn the_platforms_proxy_signs_and_what_it_signs_is_looked_at_before_it_is_used() {
    let mut cluster = Cluster::set_up();
    let key = create_model(&cluster.path("proxy.key.pem")).unwrap();
    let public = key.public_pem().unwrap();
    let (pem, token) = (cluster.path("proxy.pub.pem"), cluster.path("token"));
    fs::write(&pem, &public).unwrap();
    fs::write(&token, "sesame\n").unwrap();
    let proxy = Proxy::start(key);
    cluster.sign_with(&format!(
        "kind = \"proxy\"\nurl = \"http://{}\"\nkeys = [\"signer-1\"]\npublic_keys = [\"{}\"]\n\
         token_file = \"{}\"\n",
        proxy.address,
        pem.display(),
        token.display()
    ));
    cluster.start_all();
    let user = &cluster.user;
    user.run_job("good");
    assert_eq!(signer(user, "a1"), bundle::hint(&public));
    user.ok(&["verify", "a1"]);

    proxy.forges.store(true, Ordering::SeqCst);
    submit(user, "forged");
    until(user, &["forged"], "sealing");
    let before = proxy.asked.load(Ordering::SeqCst);
    until_found("it was asked again", || {
        (proxy.asked.load(Ordering::SeqCst) > before + 1).then_some(())
    });
    assert_eq!(user.json(&["artifacts"]).unwrap()["artifacts"].as_array().unwrap().len(), 1);
    proxy.forges.store(false, Ordering::SeqCst);
    until(user, &["forged"], "completed");
    user.ok(&["verify", "a2"]);
    user.ok(&["audit", "verify"]);
}
