//! Other processes: how much memory they hold, whether they still live, their end.
//!
//! A process is held by a pidfd, so a number that was given to somebody else meanwhile is never signalled.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

/// A process that is, or was, there.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// Takes hold of a process. None when there is none of that number, or when `started` is given and it is another
    /// one that has the number now.
    pub fn open(pid: i32, started: Option<u64>) -> io::Result<Option<Self>> {
        // SAFETY: pidfd_open takes two integers and returns a new descriptor or an error.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            let e = io::Error::last_os_error();
            return if e.raw_os_error() == Some(libc::ESRCH) { Ok(None) } else { Err(e) };
        }
        let fd = i32::try_from(fd).expect("a descriptor is an int");
        // SAFETY: the kernel just gave us this descriptor; nobody else has it.
        let this = Self { pid, fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        // Looked at after the process is held: the answer is about the one we hold, or about nobody.
        match started {
            Some(expected) if start_time(pid)? != Some(expected) => Ok(None),
            _ => Ok(Some(this)),
        }
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal. False when the process is gone already.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        // SAFETY: pidfd_send_signal with a null siginfo reads no memory of ours; the descriptor is open.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal as libc::c_int,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if sent == 0 {
            return Ok(true);
        }
        let e = io::Error::last_os_error();
        if e.raw_os_error() == Some(libc::ESRCH) { Ok(false) } else { Err(e) }
    }

    /// Whether it has ended (a zombie has).
    pub fn ended(&self) -> io::Result<bool> {
        self.wait(Duration::ZERO)
    }

    /// Waits for its end, for at most so long. True when it has ended. Blocks.
    pub fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + at_most;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(0) if Instant::now() >= deadline => return Ok(false),
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Asks it to end (SIGTERM), and kills it when it has not after `grace`. True when it has ended. Blocks, for at
    /// most `grace` and five seconds.
    pub fn stop(&self, grace: Duration) -> io::Result<bool> {
        self.signal(Signal::SIGTERM)?;
        if self.wait(grace)? {
            return Ok(true);
        }
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(5))
    }
}

impl AsFd for Process {
    /// The pidfd: readable once the process has ended.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Bytes of memory a process holds; none when there is no such process. A zombie holds 0.
pub fn rss_bytes(pid: i32) -> io::Result<Option<u64>> {
    let Some(text) = read(pid, "statm")? else { return Ok(None) };
    let pages = text.split(' ').nth(1).and_then(|field| field.parse::<u64>().ok());
    // SAFETY: sysconf reads nothing of ours.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = u64::try_from(page).map_err(|_| io::Error::other("the page size is not known"))?;
    match pages {
        Some(pages) => Ok(Some(pages * page)),
        None => Err(io::Error::other(format!("/proc/{pid}/statm is not in the format of proc(5)"))),
    }
}

/// When a process started, in clock ticks since boot: together with the number it names one process for good. None
/// when there is no such process.
pub fn start_time(pid: i32) -> io::Result<Option<u64>> {
    let Some(text) = read(pid, "stat")? else { return Ok(None) };
    match parse_start_time(&text) {
        Some(ticks) => Ok(Some(ticks)),
        None => Err(io::Error::other(format!("/proc/{pid}/stat is not in the format of proc(5)"))),
    }
}

/// Field 22 of /proc/PID/stat. The second field may hold blanks and parentheses; the last ')' ends it.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn read(pid: i32, file: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(format!("/proc/{pid}/{file}")) {
        Ok(text) => Ok(Some(text)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Sets how willingly the calling process makes room for others: -20 (hardly) to 19. Needs `CAP_SYS_NICE` below 0.
pub fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: a plain system call without pointers; process 0 is the caller.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, nice) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_and_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(rss_bytes(own).unwrap().unwrap() > 100_000);
        let started = start_time(own).unwrap();
        assert!(started.is_some());
        assert!(Process::open(own, started).unwrap().is_some());
        assert!(Process::open(own, Some(1)).unwrap().is_none(), "another process of the same number");
    }

    #[test]
    fn stat_with_a_strange_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_start_time(stat), Some(4242));
        assert_eq!(parse_start_time("7 (a"), None);
        assert_eq!(parse_start_time("7 (a) S 1"), None);
    }

    #[test]
    fn stopped_and_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process::open(pid, None).unwrap().unwrap();
        assert!(!process.ended().unwrap());
        assert!(process.stop(Duration::from_secs(5)).unwrap());
        child.wait().unwrap();
        assert!(!process.signal(Signal::SIGTERM).unwrap());
        assert!(Process::open(pid, None).unwrap().is_none());
        assert_eq!(rss_bytes(pid).unwrap(), None);
    }
}
