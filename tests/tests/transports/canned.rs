//! A server that answers as a test wants it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

/// What a client asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: u64,
    /// When all of it was read.
    pub at: Instant,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A status line with headers, and a body; no answer closes the connection.
pub type Answer = Option<(String, Vec<u8>)>;

/// Listens on 127.0.0.1 until it is dropped.
pub struct Canned {
    port: u16,
    ended: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
    listener: Option<JoinHandle<()>>,
}

impl Canned {
    /// Answers each request by `answer`; `read` takes the bodies.
    pub fn start(
        read: fn(&mut dyn Read) -> u64,
        answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(0, read, answer)
    }

    /// The same on a port that is known already.
    pub fn start_at(
        port: u16,
        read: fn(&mut dyn Read) -> u64,
        answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ended, asked) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<Asked>>>::default());
        let (stop, log, answer) = (ended.clone(), asked.clone(), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (log, answer) = (log.clone(), answer.clone());
                // A connection ends when the client does.
                std::thread::spawn(move || drop(serve(stream.unwrap(), read, &log, &*answer)));
            }
        });
        Self { port, ended, asked, listener: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/dav", self.port)
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.listener.take().unwrap().join();
    }
}

/// Reads all of a body, and says how long it was.
pub fn read_all(body: &mut dyn Read) -> u64 {
    std::io::copy(body, &mut std::io::sink()).unwrap_or_default()
}

fn serve(
    mut stream: TcpStream,
    read: fn(&mut dyn Read) -> u64,
    log: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked, usize) -> Answer,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut asked = Asked { method, path, headers, body: 0, at: Instant::now() };
        let len: u64 = asked.header("content-length").and_then(|len| len.parse().ok()).unwrap_or_default();
        asked.body = read(&mut (&mut reader).take(len));
        asked.at = Instant::now();
        let number = {
            let mut log = log.lock().unwrap();
            log.push(asked.clone());
            log.len()
        };
        let Some((head, body)) = answer(&asked, number) else { return Ok(()) };
        let end = if asked.method == "HEAD" { 0 } else { body.len() };
        write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len())?;
        stream.write_all(&body[..end])?;
    }
}
