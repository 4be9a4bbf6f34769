//! A line to a server on this machine that can be cut, stalled, slowed down and made long, while it is in use.
//!
//! It carries TCP connections to a port of 127.0.0.1, byte for byte, and counts them. What shall happen is *armed* for the
//! moment when a number of bytes has gone one way: so a test strikes where it wants to, and does not depend on time.

use std::io;
use std::net::TcpListener as Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fardel_store::Throttle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

/// Bytes that are read at once.
const BLOCK: usize = 256 << 10;
/// Blocks that are on their way in one direction of a connection; a long line holds as much.
const ON_THE_WAY: usize = 64;

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Up,
    /// From the server.
    Down,
}

/// How a connection ends, seen from both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order, as when a program closes it.
    Fin,
    /// By a reset, as when a machine or a firewall forgets it.
    Rst,
}

/// What happens when the armed number of bytes has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Nothing to the line: whoever waits is told.
    Tell,
    /// The connection that carried the last byte is cut; others and new ones are not.
    CutOne(End),
    /// All connections are cut, and new ones at once, until the line is mended.
    CutAll(End),
    /// Nothing moves any more on any connection, until the line is mended.
    Stall,
}

/// What went over a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes to the server.
    pub up: u64,
    /// Bytes from the server.
    pub down: u64,
    /// Connections that were taken.
    pub connections: u64,
}

/// A line to a server; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    // `None` only while it is dropped.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    server: u16,
    up: AtomicU64,
    down: AtomicU64,
    connections: AtomicU64,
    open: AtomicUsize,
    armed: Mutex<Armed>,
    struck: Condvar,
    state: watch::Sender<State>,
    rate: [Throttle; 2],
}

/// What is to happen, and whether it has.
#[derive(Debug, Default)]
struct Armed {
    next: Option<(Way, u64, Strike)>,
    has_struck: bool,
}

/// What holds for all connections.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    cut: Option<End>,
    stalled: bool,
    /// Time that each byte needs, one way.
    delay: Duration,
}

impl Proxy {
    /// A line to this port of 127.0.0.1 on which nothing happens yet.
    ///
    /// # Panics
    /// When the system has no port for it.
    #[must_use]
    pub fn before(server: u16) -> Self {
        let listener = Bound::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("it is a socket");
        let shared = Arc::new(Shared {
            server,
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            armed: Mutex::default(),
            struck: Condvar::new(),
            state: watch::Sender::default(),
            rate: Default::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .expect("the operating system gives threads");
        runtime.spawn(listen(listener, shared.clone()));
        Self { port, shared, runtime: Some(runtime) }
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a server of HTTP behind it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What went over it since it was made, or since [`Self::forget`].
    #[must_use]
    pub fn counts(&self) -> Counts {
        let shared = &self.shared;
        let of = |count: &AtomicU64| count.load(SeqCst);
        Counts { up: of(&shared.up), down: of(&shared.down), connections: of(&shared.connections) }
    }

    /// Begins to count anew.
    pub fn forget(&self) {
        let shared = &self.shared;
        for count in [&shared.up, &shared.down, &shared.connections] {
            count.store(0, SeqCst);
        }
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(SeqCst)
    }

    /// Once `bytes` more have gone this way, exactly so many, `strike` happens. Replaces what was armed before.
    pub fn arm(&self, way: Way, bytes: u64, strike: Strike) {
        *self.shared.armed() = Armed { next: Some((way, bytes, strike)), has_struck: false };
    }

    /// Whether what was armed last has happened.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        self.shared.armed().has_struck
    }

    /// Waits until it happens, for so long at most; whether it has.
    #[must_use]
    pub fn wait_for_strike(&self, at_most: Duration) -> bool {
        let waited = self.shared.struck.wait_timeout_while(self.shared.armed(), at_most, |a| !a.has_struck);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_struck
    }

    /// Cuts all connections, and new ones at once, until it is mended.
    pub fn cut(&self, end: End) {
        self.shared.state.send_modify(|state| state.cut = Some(end));
    }

    /// Lets nothing through until it is mended.
    pub fn stall(&self) {
        self.shared.state.send_modify(|state| state.stalled = true);
    }

    /// Takes connections, moves bytes, and has nothing armed.
    pub fn mend(&self) {
        self.shared.armed().next = None;
        self.shared.state.send_modify(|state| *state = State { delay: state.delay, ..State::default() });
    }

    /// Each byte arrives so much later from now on: half of what is added to a round trip. The rate does not suffer by it
    /// as long as no more than 16 MiB are on their way in one direction of a connection.
    pub fn set_delay(&self, one_way: Duration) {
        self.shared.state.send_modify(|state| state.delay = one_way);
    }

    /// So many bytes a second go each way at most, over all connections.
    pub fn set_rate(&self, rate: Option<u64>) {
        self.shared.rate.iter().for_each(|throttle| throttle.set(rate));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn armed(&self) -> MutexGuard<'_, Armed> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    /// How many of `len` bytes may go before something happens, and what.
    fn admit(&self, way: Way, len: u64) -> (u64, Option<Strike>) {
        let mut armed = self.armed();
        match &mut armed.next {
            Some((there, left, strike)) if *there == way => {
                if *left > len {
                    *left -= len;
                    return (len, None);
                }
                let due = (*left, Some(*strike));
                armed.next = None;
                due
            }
            _ => (len, None),
        }
    }

    /// Does what was armed, and tells whoever waits for it.
    fn strike(&self, strike: Strike) {
        match strike {
            Strike::CutAll(end) => self.state.send_modify(|state| state.cut = Some(end)),
            Strike::Stall => self.state.send_modify(|state| state.stalled = true),
            Strike::Tell | Strike::CutOne(_) => {}
        }
        self.armed().has_struck = true;
        self.struck.notify_all();
    }
}

async fn listen(listener: Bound, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("it does not block");
    loop {
        if let Ok((client, _)) = listener.accept().await {
            tokio::spawn(connection(client, shared.clone()));
        }
    }
}

/// Carries one connection from its beginning to its end.
async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", shared.server)).await else {
        // As when nobody listens: what was to be a connection is reset.
        finish(&client, End::Rst);
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    shared.connections.fetch_add(1, SeqCst);
    shared.open.fetch_add(1, SeqCst);
    let mut state = shared.state.subscribe();
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::try_join!(
                carry(from_client, to_server, Way::Up, &shared),
                carry(from_server, to_client, Way::Down, &shared)
            )
        };
        tokio::select! {
            biased;
            cut = state.wait_for(|state| state.cut.is_some()) => cut.ok().and_then(|state| state.cut).unwrap_or(End::Fin),
            carried = both => carried.err().unwrap_or(End::Fin),
        }
    };
    finish(&client, end);
    finish(&server, end);
    shared.open.fetch_sub(1, SeqCst);
}

/// What the other side will see when this socket is dropped.
fn finish(socket: &TcpStream, end: End) {
    if end == End::Rst {
        let _ = socket.set_zero_linger();
    }
}

/// Carries what goes one way, until it ends; how the whole connection is to end when that is before.
async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way, shared: &Shared) -> Result<(), End> {
    let (give, mut take) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let state = shared.state.subscribe();
    let reading = async move {
        loop {
            let mut block = Vec::with_capacity(BLOCK);
            match from.read_buf(&mut block).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(end_of(&error)),
            }
            let due = Instant::now() + state.borrow().delay;
            if give.send((due, block)).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((due, block)) = take.recv().await {
            tokio::time::sleep_until(due.into()).await;
            write(&mut to, &block, way, shared).await?;
        }
        let _ = to.shutdown().await;
        Ok(())
    };
    tokio::try_join!(reading, writing).map(drop)
}

/// Writes a block, with what is to happen within it.
async fn write(to: &mut WriteHalf<'_>, block: &[u8], way: Way, shared: &Shared) -> Result<(), End> {
    let mut state = shared.state.subscribe();
    let mut rest = block;
    loop {
        let throttle = &shared.rate[usize::from(way == Way::Down)];
        let pause = throttle.pass(rest.len() as u64, Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let _ = state.wait_for(|state| !state.stalled).await;
        let (go, strike) = shared.admit(way, rest.len() as u64);
        let (now, later) = rest.split_at(usize::try_from(go).expect("it is a part of the block"));
        to.write_all(now).await.map_err(|error| end_of(&error))?;
        shared.count(way).fetch_add(go, SeqCst);
        let Some(strike) = strike else { return Ok(()) };
        shared.strike(strike);
        if let Strike::CutOne(end) = strike {
            return Err(end);
        }
        if later.is_empty() {
            return Ok(());
        }
        // Whoever cut all of them ends this one, too.
        rest = later;
        tokio::task::yield_now().await;
    }
}

/// A side that was reset has the other one reset, too.
fn end_of(error: &io::Error) -> End {
    if error.kind() == io::ErrorKind::ConnectionReset { End::Rst } else { End::Fin }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// Sends back what it gets, until the other side has ended.
    fn echo() -> u16 {
        let listener = Bound::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(20) {
                std::thread::spawn(move || {
                    let (mut from, mut to) = (stream.as_ref().unwrap(), stream.as_ref().unwrap());
                    let _ = std::io::copy(&mut from, &mut to);
                });
            }
        });
        port
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn through(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
        stream.write_all(bytes).unwrap();
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).unwrap();
        back
    }

    #[test]
    fn carries_every_byte_and_counts_them() {
        let proxy = Proxy::before(echo());
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut stream = connect(&proxy);
        let sending = {
            let (mut stream, bytes) = (stream.try_clone().unwrap(), bytes.clone());
            std::thread::spawn(move || {
                stream.write_all(&bytes).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            })
        };
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        sending.join().unwrap();
        assert!(back == bytes);
        let counts = Counts { up: 3_000_000, down: 3_000_000, connections: 1 };
        assert_eq!(proxy.counts(), counts);
    }

    #[test]
    fn a_cut_comes_after_just_so_many_bytes_and_spares_other_connections() {
        let proxy = Proxy::before(echo());
        let (mut one, mut other) = (connect(&proxy), connect(&proxy));
        assert_eq!(through(&mut other, b"before"), b"before");
        proxy.arm(Way::Up, 10, Strike::CutOne(End::Fin));
        one.write_all(b"0123456789abc").unwrap();
        assert!(proxy.wait_for_strike(Duration::from_secs(20)));
        let mut rest = Vec::new();
        let _ = one.read_to_end(&mut rest);
        assert!(b"0123456789".starts_with(&rest), "{rest:?}");
        assert_eq!(proxy.counts().up, 6 + 10);
        assert_eq!(through(&mut other, b"after"), b"after");
    }

    #[test]
    fn a_line_that_is_cut_resets_everybody_until_it_is_mended() {
        let proxy = Proxy::before(echo());
        let mut one = connect(&proxy);
        assert_eq!(through(&mut one, b"before"), b"before");
        proxy.arm(Way::Down, 3, Strike::CutAll(End::Rst));
        one.write_all(b"abcdef").unwrap();
        let mut got = Vec::new();
        let error = one.read_to_end(&mut got).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let mut another = connect(&proxy);
        let reset = another.write_all(b"x").and_then(|()| another.read_exact(&mut [0]));
        reset.unwrap_err();
        proxy.mend();
        assert_eq!(through(&mut connect(&proxy), b"mended"), b"mended");
    }

    #[test]
    fn a_stalled_line_goes_on_where_it_stood() {
        let proxy = Proxy::before(echo());
        let mut one = connect(&proxy);
        proxy.arm(Way::Up, 2, Strike::Stall);
        one.write_all(b"abcd").unwrap();
        assert!(proxy.wait_for_strike(Duration::from_secs(20)));
        assert_eq!(proxy.counts().up, 2);
        proxy.mend();
        let mut back = [0; 4];
        one.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"abcd");
    }

    #[test]
    fn a_long_line_delays_and_a_narrow_one_holds_back() {
        let proxy = Proxy::before(echo());
        proxy.set_delay(Duration::from_millis(25));
        let mut one = connect(&proxy);
        let begun = Instant::now();
        through(&mut one, b"there and back");
        assert!(begun.elapsed() >= Duration::from_millis(50), "{:?}", begun.elapsed());
        proxy.set_delay(Duration::ZERO);
        proxy.set_rate(Some(100_000));
        let begun = Instant::now();
        through(&mut one, &[7; 10_000]);
        through(&mut one, b"x");
        assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
    }
}
