//! Stands before a key store, and makes it slow, busy, silent or forgetful.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// What it does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Passes them on.
    Awake,
    /// Closes each connection without a word.
    Down,
    /// Answers as a key store that is asked too often.
    Throttling,
    /// Answers after a longer time than anybody waits.
    Slow,
}

#[derive(Default)]
struct Seen {
    /// Calls by the mood that met them.
    met: BTreeMap<&'static str, usize>,
    /// Signatures that were handed over, by what was signed.
    signed: BTreeMap<String, usize>,
}

pub struct FaultProxy {
    pub address: String,
    mood: Arc<Mutex<Mood>>,
    seen: Arc<Mutex<Seen>>,
}

impl FaultProxy {
    /// Starts before a key store at `behind`.
    pub fn start(behind: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy = Self { address, mood: Arc::new(Mutex::new(Mood::Awake)), seen: Arc::default() };
        let (mood, seen, behind) = (proxy.mood.clone(), proxy.seen.clone(), behind.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mood, seen, behind) = (mood.clone(), seen.clone(), behind.clone());
                // Each connection ends with its first call, so their number is bounded by the
                // calls that are under way.
                thread::spawn(move || serve(stream.unwrap(), &mood, &seen, &behind));
            }
        });
        proxy
    }

    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Calls that were met in this mood.
    pub fn met(&self, mood: &str) -> usize {
        self.seen.lock().unwrap().met.get(mood).copied().unwrap_or(0)
    }

    /// How often each digest's signature was handed over.
    pub fn signed(&self) -> BTreeMap<String, usize> {
        self.seen.lock().unwrap().signed.clone()
    }
}

fn serve(mut stream: TcpStream, mood: &Mutex<Mood>, seen: &Mutex<Seen>, behind: &str) {
    let Some((head, body)) = request(&mut stream) else { return };
    let now = *mood.lock().unwrap();
    let word = match now {
        Mood::Awake => "awake",
        Mood::Down => "down",
        Mood::Throttling => "throttling",
        Mood::Slow => "slow",
    };
    *seen.lock().unwrap().met.entry(word).or_default() += 1;
    match now {
        Mood::Down => return,
        Mood::Throttling => {
            let told = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
            let _ = stream.write_all(
                format!(
                    "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\n\
                     content-length: {}\r\nconnection: close\r\n\r\n{told}",
                    told.len()
                )
                .as_bytes(),
            );
            return;
        }
        // The caller has gone by then.
        Mood::Slow => return thread::sleep(Duration::from_secs(8)),
        Mood::Awake => {}
    }
    let lines = head.lines().filter(|line| !line.to_lowercase().starts_with("connection:"));
    let head: Vec<_> = lines.map(str::to_owned).collect();
    let mut far = TcpStream::connect(behind).unwrap();
    far.write_all(format!("{}\r\nconnection: close\r\n\r\n", head.join("\r\n")).as_bytes())
        .unwrap();
    far.write_all(&body).unwrap();
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).unwrap();
    if stream.write_all(&answer).is_ok()
        && head.iter().any(|line| line.ends_with("TrentService.Sign"))
        && answer.starts_with(b"HTTP/1.1 200")
    {
        let asked: Value = serde_json::from_slice(&body).unwrap();
        let message = asked["Message"].as_str().unwrap().to_owned();
        *seen.lock().unwrap().signed.entry(message).or_default() += 1;
    }
}

/// One call: its head, and all of its body.
fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut part = [0; 8_192];
    loop {
        let size = stream.read(&mut part).ok().filter(|size| *size > 0)?;
        bytes.extend_from_slice(&part[..size]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let body = &bytes[end + 4..];
        if body.len() >= length.unwrap_or(0) {
            return Some((head, body.to_vec()));
        }
    }
}
