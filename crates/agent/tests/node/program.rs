//! The test's program as the agent, as its tunnel, as a server and as clients, in whatever namespace it is started.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use causeway_agent::config::Config;
use kernel::wireguard::Options;

/// No answer takes longer, unless it is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection is silent between an answer and the next question. Agents that start beside talkers which know no
/// rest get no time on a processor for minutes.
const PACE: Duration = Duration::from_millis(2);

/// Runs what the arguments ask for, if they do.
pub(crate) fn run(args: &[String]) -> Option<ExitCode> {
    match args {
        [verb, node] if verb == "agent" => agent(node),
        [verb, node] if verb == "cleanup" => return Some(cleanup(node)),
        // What `causeway wireguard` is.
        [verb, flag, dir, interface] if verb == "wireguard" && flag == "--socket-dir" => {
            let stop = kernel::wireguard::stop_signals().expect("signals");
            let options = Options { uapi_dir: dir.into(), ..Options::new(interface) };
            kernel::wireguard::run(&options, stop).unwrap_or_else(|error| panic!("{error}"));
        }
        [verb, port] if verb == "serve" => serve(port.parse().expect("a port")),
        [verb, to] if verb == "who-am-i" => println!("{}", who_am_i(to.parse().expect("an address"))),
        [verb, to, count] if verb == "dial" => {
            println!("{}", dial(to.parse().expect("an address"), count.parse().expect("a number")));
        }
        [verb, to, count] if verb == "talk" => {
            talk(to.parse().expect("an address"), count.parse().expect("a number"));
        }
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

fn config(node: &str) -> Config {
    let path = Path::new("/run/causeway/agent.yaml");
    causeway_agent::config::load(path, Some(node)).unwrap_or_else(|error| panic!("{error}"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// What `causeway agent` is.
fn agent(node: &str) {
    // Into the machine's log, which a test that fails shows.
    let filter = tracing_subscriber::EnvFilter::new("info");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let run = causeway_agent::run(config(node), std::future::pending());
    runtime().block_on(run).unwrap_or_else(|error| panic!("{error:#}"));
}

/// What `causeway agent --cleanup` is.
fn cleanup(node: &str) -> ExitCode {
    let config = config(node);
    let done = runtime().block_on(async {
        causeway_agent::cleanup(&config).await?;
        if !config.host().is_here() {
            causeway_agent::rest(&config, std::future::pending()).await?;
        }
        anyhow::Ok(())
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says to whoever connects who it is, then says everything again.
fn serve(port: u16) {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a port");
    println!("serving");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        std::thread::spawn(move || {
            let peer = stream.peer_addr().expect("a peer").ip().to_canonical();
            let mut bytes = [0; 4096];
            let mut said = writeln!(stream, "{peer}").is_ok();
            while said {
                let read = stream.read(&mut bytes).unwrap_or(0);
                said = read > 0 && stream.write_all(&bytes[..read]).is_ok();
            }
        });
    }
}

fn connect(to: SocketAddr) -> std::io::Result<(String, BufReader<TcpStream>)> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok((line.trim().to_string(), stream))
}

fn who_am_i(to: SocketAddr) -> String {
    // Over a new wire the first packet may be early.
    let asked = connect(to).or_else(|_| connect(to));
    asked.map_or_else(|e| format!("cannot ask {to}: {e}"), |(me, _)| me)
}

/// Connects so often, one after the other. Returns how many failed.
fn dial(to: SocketAddr, count: usize) -> usize {
    (0..count).filter(|_| connect(to).is_err()).count()
}

/// Seconds and milliseconds within the hour, to be found in the agents' logs.
fn clock() -> String {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later than 1970");
    format!("{:02}:{:02}.{:03}", now.as_secs() / 60 % 60, now.as_secs() % 60, now.subsec_millis())
}

/// Speaks on so many connections until its input ends, then says how many were lost, and how many answers came.
fn talk(to: SocketAddr, count: usize) {
    let connections: Vec<_> = (0..count).map(|_| connect(to).expect("a connection").1).collect();
    println!("connected");
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let talkers = connections.into_iter().map(|mut stream| {
        let (stop, answers) = (stop.clone(), answers.clone());
        std::thread::spawn(move || {
            let mut bytes = [7; 1024];
            while !stop.load(Ordering::Relaxed) {
                let spoken = stream.get_mut().write_all(&bytes).and_then(|()| stream.read_exact(&mut bytes));
                spoken.inspect_err(|e| eprintln!("{}: a connection to {to} is lost: {e}", clock()))?;
                answers.fetch_add(1, Ordering::Relaxed);
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a pace: without one, a few talkers take the machine"
                )]
                std::thread::sleep(PACE);
            }
            Ok::<(), std::io::Error>(())
        })
    });
    let talkers: Vec<_> = talkers.collect();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    // Everybody speaks once more after whatever was to be survived.
    let before = answers.load(Ordering::Relaxed);
    while answers.load(Ordering::Relaxed) < before + count
        && talkers.iter().any(|talker| !talker.is_finished())
    {
        std::thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    let lost = talkers.into_iter().filter_map(|talker| talker.join().expect("no panic").err()).count();
    println!("lost {lost} of {count}, {} answers", answers.load(Ordering::Relaxed));
}
