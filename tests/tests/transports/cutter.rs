//! A line that can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Carries connections to a server on 127.0.0.1, as long as what is sent to the server stays within a number of bytes.
pub struct Cutter {
    port: u16,
    state: Arc<State>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    limit: AtomicU64,
    sent: AtomicU64,
    ended: AtomicBool,
}

impl Cutter {
    /// A line that is not cut.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { limit: AtomicU64::new(u64::MAX), ..State::default() });
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), Ok(server)) = (stream, TcpStream::connect(("127.0.0.1", server))) else {
                    continue;
                };
                let (from, to, shared) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap(), shared.clone());
                std::thread::spawn(move || shared.carry(from, to));
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut &server, &mut &client);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, state, listener: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on so many bytes go through, and what went before is forgotten.
    pub fn cut_after(&self, bytes: u64) {
        self.state.sent.store(0, Ordering::SeqCst);
        self.state.limit.store(bytes, Ordering::SeqCst);
    }

    /// What was sent to the server.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }
}

impl State {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let sent = self.sent.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
            if sent > self.limit.load(Ordering::SeqCst) || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.listener.take().unwrap().join();
    }
}
