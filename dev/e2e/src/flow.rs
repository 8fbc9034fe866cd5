//! One TCP connection between two pods, over which a byte goes back and forth for as long as the story lasts.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::node::Pod;

const PORT: u16 = 7777;

/// How often a byte goes, and how long it may take.
const PERIOD: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(3);

/// The connection.
pub(crate) struct Flow {
    stop: Arc<AtomicBool>,
    round_trips: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<Duration>>>,
}

impl Flow {
    /// Opens it. A socket belongs to the namespace it was made in, whichever thread then uses it.
    pub(crate) fn open(from: &Pod, to: &Pod) -> Result<Flow> {
        let listener = to.netns.run(|| TcpListener::bind((IpAddr::from([0, 0, 0, 0]), PORT)))??;
        let stop = Arc::new(AtomicBool::new(false));
        let round_trips = Arc::new(AtomicU64::new(0));
        let server = std::thread::spawn(move || -> Result<Duration> {
            let (mut stream, _) = listener.accept()?;
            let mut byte = [0];
            while stream.read(&mut byte)? == 1 {
                stream.write_all(&byte)?;
            }
            Ok(Duration::ZERO)
        });
        let address = SocketAddr::new(to.ip, PORT);
        let mut stream = from.netns.run(|| TcpStream::connect_timeout(&address, LATE))??;
        stream.set_read_timeout(Some(LATE))?;
        stream.set_nodelay(true)?;
        let (over, count) = (stop.clone(), round_trips.clone());
        let client = std::thread::spawn(move || -> Result<Duration> {
            let mut worst = Duration::ZERO;
            let (_timer, tick) = std::sync::mpsc::channel::<()>();
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                stream.write_all(&[1]).context("the connection is lost")?;
                stream.read_exact(&mut [0]).context("no answer on the connection")?;
                worst = worst.max(begun.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
                // Nobody ever sends: this waits for the period.
                let _ = tick.recv_timeout(PERIOD);
            }
            Ok(worst)
        });
        Ok(Flow { stop, round_trips, threads: vec![client, server] })
    }

    /// Fails if the connection was lost, or stood still.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        if self.threads[0].is_finished() {
            bail!("the established connection did not outlive this: {what}");
        }
        Ok(())
    }

    /// Ends it: how many round trips there were, and how long the slowest took.
    pub(crate) fn close(self) -> Result<(u64, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut worst = Duration::ZERO;
        for thread in self.threads {
            worst =
                worst.max(thread.join().map_err(|_| anyhow::anyhow!("the connection's thread panicked"))??);
        }
        Ok((self.round_trips.load(Ordering::Relaxed), worst))
    }
}
