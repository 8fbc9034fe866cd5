//! `causeway lab matrix`: who reaches whom, against who may.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::matrix::{self, Applied, Measured, Member, Report, Situation, Spec};
use lab::{client, matrix::sctp};
use model::{ClusterName, Port};
use serde::Serialize;
use wire::local::{Family, PolicyProtocol};

use crate::status::Output;

/// `causeway lab matrix`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every pod tries every other one at once, by every port, protocol and family; what is not answered in time was dropped. What
was measured is held against `causeway policy check` of each try; what differs is tried again for a while, then shown.
  +  answered     r  refused: it arrived, nobody listens     .  silence: dropped     u  no way there     !  not as it should be

Examples:
  causeway lab matrix                                         pods of every namespace, tcp, udp and icmp
  causeway lab matrix -n x -n y --port 80 --protocol tcp
  causeway lab matrix --policies deny.yaml                    put into every cluster, and taken out again at the end
  causeway lab matrix --policies aws=deny.yaml --keep
  causeway lab matrix --situations examples/policy/situations.yaml
  causeway lab matrix -o json | jq '.[].differences[] | {from, to, protocol, port, outcome, check, why}'

Exit status 1 when something is not as it should be.")]
pub(crate) struct Args {
    /// Pods of this namespace; may be repeated [default: of all].
    #[arg(short, long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
    /// Pods of this cluster; may be repeated [default: of all].
    #[arg(short, long = "cluster", value_name = "NAME")]
    clusters: Vec<ClusterName>,
    /// Ports, with commas between them.
    #[arg(short, long = "port", value_name = "N", value_delimiter = ',', default_value = "80,81")]
    ports: Vec<Port>,
    /// tcp, udp, sctp and icmp, with commas between them.
    #[arg(long = "protocol", value_name = "PROTOCOL", value_delimiter = ',', default_value = "tcp,udp,icmp")]
    protocols: Vec<PolicyProtocol>,
    /// 4 or 6 [default: both].
    #[arg(long = "family", value_name = "4|6", value_delimiter = ',', value_parser = crate::policy::family)]
    families: Vec<Family>,
    /// A file of policies, put into every cluster or the one named, and taken out again at the end; may be repeated.
    #[arg(long, value_name = "[CLUSTER=]FILE")]
    policies: Vec<String>,
    /// Leave the policies where they were put.
    #[arg(long, requires = "policies")]
    keep: bool,
    /// A file of situations: policies, and who reaches whom under them; each gives a matrix. May be repeated.
    #[arg(long, value_name = "FILE", conflicts_with = "policies")]
    situations: Vec<PathBuf>,
    /// Do not ask `policy check`.
    #[arg(long)]
    no_check: bool,
    /// What is not answered in this time was dropped.
    #[arg(long, value_name = "TIME", default_value = "400ms", value_parser = crate::load::duration)]
    timeout: Duration,
    /// For how long what differs is tried again.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = crate::load::duration)]
    settle: Duration,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Measures and prints.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let situations = situations(&args)?;
    let status = client::status(None).await?;
    let clusters: Vec<ClusterName> = status.clusters.iter().map(|cluster| cluster.name.clone()).collect();
    let members = matrix::members(&status, &args.clusters, &args.namespaces)?;
    let spec = spec(&args, &members)?;
    let mut reports = Vec::new();
    let mut as_it_should_be = true;
    for situation in &situations {
        let mut applied = Applied::default();
        let measured = async {
            matrix::apply(&situation.policies, &clusters, &mut applied).await?;
            let expect = situation.expect.as_ref();
            matrix::measure(&situation.name, &members, &spec, expect, !args.no_check).await
        };
        let measured = measured.await;
        if !args.keep {
            // Also where something went wrong; that is then told first.
            let taken = matrix::take_back(applied).await;
            measured.as_ref().map_or(Ok(()), |_| taken)?;
        }
        let report = measured?;
        as_it_should_be &= report.differences.is_empty();
        if args.output == Output::Text {
            print!("{}", render(&report, situations.len() > 1));
        }
        reports.push(report);
    }
    match args.output {
        Output::Json => super::print_json(&reports)?,
        Output::Text if reports.len() > 1 => print!("{}", summary(&reports)),
        Output::Text => {}
    }
    Ok(if as_it_should_be { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn spec(args: &Args, members: &[Member]) -> Result<Spec> {
    let families = match &args.families[..] {
        [] => vec![Family::IPv4, Family::IPv6],
        said => said.to_vec(),
    };
    let families: Vec<Family> =
        families.into_iter().filter(|family| members.iter().any(|m| m.ip(*family).is_some())).collect();
    if families.is_empty() {
        bail!("no pod has an address of that family");
    }
    if args.protocols.contains(&PolicyProtocol::Sctp) && !sctp::present() {
        bail!("this kernel has no SCTP (modprobe sctp): leave it out of --protocol");
    }
    let (timeout, settle) = (args.timeout, args.settle);
    Ok(Spec { ports: args.ports.clone(), protocols: args.protocols.clone(), families, timeout, settle })
}

/// What is to be measured: the lab as it is, with some policies more, or under one situation after the other.
fn situations(args: &Args) -> Result<Vec<Situation>> {
    let read = |file: &str| std::fs::read_to_string(file).with_context(|| format!("reading {file}"));
    if args.situations.is_empty() {
        let mut policies: BTreeMap<String, String> = BTreeMap::new();
        for said in &args.policies {
            let (cluster, file) = match said.split_once('=') {
                Some((cluster, file)) => (cluster.parse::<ClusterName>()?.to_string(), file),
                None => ("*".to_string(), &**said),
            };
            let text = read(file)?;
            // Mistakes are said with the file's name, before anything is changed.
            cluster::manifest::parse(file, &text)?;
            let all = policies.entry(cluster).or_default();
            *all = format!("{all}\n---\n{text}");
        }
        return Ok(vec![Situation { name: String::new(), policies, expect: None }]);
    }
    let mut all = Vec::new();
    for file in &args.situations {
        let name = file.display().to_string();
        all.extend(matrix::parse_situations(&name, &read(&name)?)?);
    }
    if all.is_empty() {
        bail!("there is no situation in {}", args.situations[0].display());
    }
    Ok(all)
}

/// A kind of try: `tcp/80 by IPv4`.
type Way = (PolicyProtocol, Option<Port>, Family);

fn differs(report: &Report, measured: &Measured) -> bool {
    report.differences.iter().any(|difference| difference.measured == *measured)
}

/// The matrix of one kind of try: a row for each pod that begins.
fn grid(report: &Report, way: Way) -> String {
    let place: BTreeMap<&str, usize> = report.pods.iter().enumerate().map(|(n, pod)| (&**pod, n)).collect();
    let mut cells = vec![vec![' '; report.pods.len()]; report.pods.len()];
    let mut odd = vec![vec![' '; report.pods.len()]; report.pods.len()];
    for result in report.results.iter().filter(|r| (r.protocol, r.port, r.family) == way) {
        let (from, to) = (place[&*result.from], place[&*result.to]);
        cells[from][to] = result.outcome.mark();
        if differs(report, result) {
            odd[from][to] = '!';
        }
    }
    let width = report.pods.iter().map(String::len).max().unwrap_or_default();
    let mut text = format!("  {:width$}     ", "");
    (1..=report.pods.len()).for_each(|n| text += &format!("{n:>2} "));
    text = format!("{}\n", text.trim_end());
    for (n, pod) in report.pods.iter().enumerate() {
        let row: String = cells[n].iter().zip(&odd[n]).map(|(cell, odd)| format!(" {cell}{odd}")).collect();
        text += format!("  {:>2} {pod:width$}  {row}", n + 1).trim_end();
        text.push('\n');
    }
    text
}

fn name(way: Way) -> String {
    let (protocol, port, family) = way;
    match port {
        Some(port) => format!("{protocol}/{port} {family}"),
        None => format!("{protocol} {family}"),
    }
}

/// A matrix in full, or of many only what is not as it should be.
fn render(report: &Report, short: bool) -> String {
    let mut text = String::new();
    if !short {
        // Kinds of tries that came out alike are one.
        let mut alike: Vec<(String, Vec<String>)> = Vec::new();
        let mut ways: Vec<Way> = Vec::new();
        for result in &report.results {
            let way = (result.protocol, result.port, result.family);
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        for way in ways {
            let grid = grid(report, way);
            match alike.iter_mut().find(|(other, _)| *other == grid) {
                Some((_, names)) => names.push(name(way)),
                None => alike.push((grid, vec![name(way)])),
            }
        }
        for (grid, names) in alike {
            text += &format!("{}\n{grid}\n", names.join(", "));
        }
    }
    let title = if report.name.is_empty() { String::new() } else { format!("{}: ", report.name) };
    let differences = match report.differences.len() {
        0 => "all as it should be".to_string(),
        1 => "1 is not as it should be".into(),
        many => format!("{many} are not as they should be"),
    };
    let held = report.results.iter().any(|result| result.check.or(result.expected).is_some());
    let verdict = if held { differences } else { "held against nothing".into() };
    text += &format!(
        "{title}{} tries between {} pods in {:.1} s, {verdict}\n",
        report.tried,
        report.pods.len(),
        report.seconds
    );
    if !report.unchecked.is_empty() && !short {
        text += &format!("  not held against `policy check` in full: {}\n", report.unchecked);
    }
    for difference in report.differences.iter().take(SHOWN) {
        let measured = &difference.measured;
        let way = name((measured.protocol, measured.port, measured.family));
        let should = [("check says", measured.check), ("it was written down as", measured.expected)];
        let should = should.iter().filter_map(|(who, allowed)| {
            allowed.map(|allowed| format!("{who} {}", if allowed { "allowed" } else { "denied" }))
        });
        let should = should.collect::<Vec<_>>().join(", ");
        let why = if difference.why.is_empty() { String::new() } else { format!(" ({})", difference.why) };
        let outcome = serde_word(&measured.outcome);
        text += &format!("  {} -> {} {way}: {outcome}; {should}{why}\n", measured.from, measured.to);
    }
    if let more @ 1.. = report.differences.len().saturating_sub(SHOWN) {
        text += &format!("  and {more} more: -o json has them all\n");
    }
    text
}

/// Differences that are printed one by one.
const SHOWN: usize = 40;

fn serde_word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(String::from)).unwrap_or_default()
}

fn summary(reports: &[Report]) -> String {
    let good = reports.iter().filter(|report| report.differences.is_empty()).count();
    let seconds: f64 = reports.iter().map(|report| report.seconds).sum();
    format!("{good} of {} situations as they should be, {seconds:.1} s of measuring\n", reports.len())
}

#[cfg(test)]
mod tests {
    use lab::matrix::{Difference, Outcome};

    use super::*;

    fn report() -> Report {
        let pods = ["aws/x/a", "gcp/x/b"].map(String::from);
        let result = |from: usize, family, outcome, check| Measured {
            from: pods[from].clone(),
            to: pods[1 - from].clone(),
            protocol: PolicyProtocol::Tcp,
            port: Port::new(80),
            family,
            outcome,
            check,
            expected: None,
        };
        let results = vec![
            result(0, Family::IPv4, Outcome::Open, Some(true)),
            result(1, Family::IPv4, Outcome::Silent, Some(true)),
            result(0, Family::IPv6, Outcome::Open, Some(true)),
            result(1, Family::IPv6, Outcome::Refused, Some(true)),
        ];
        let differences = vec![Difference { measured: results[1].clone(), why: "ingress: no-policy".into() }];
        Report {
            name: String::new(),
            pods: pods.to_vec(),
            tried: 4,
            first_seconds: 0.1,
            seconds: 0.5,
            rounds: 2,
            unchecked: String::new(),
            results,
            differences,
        }
    }

    #[test]
    fn a_matrix() {
        assert_eq!(
            render(&report(), false),
            "tcp/80 IPv4\n               1  2\n   1 aws/x/a      +\n   2 gcp/x/b   .!\n\n\
             tcp/80 IPv6\n               1  2\n   1 aws/x/a      +\n   2 gcp/x/b   r\n\n\
             4 tries between 2 pods in 0.5 s, 1 is not as it should be\n  \
             gcp/x/b -> aws/x/a tcp/80 IPv4: silent; check says allowed (ingress: no-policy)\n"
        );
        let mut alike = report();
        alike.name = "all open".into();
        alike.differences.clear();
        alike.results.iter_mut().for_each(|result| result.outcome = Outcome::Open);
        let text = render(&alike, false);
        assert!(text.starts_with("tcp/80 IPv4, tcp/80 IPv6\n"), "{text}");
        assert!(text.ends_with("all open: 4 tries between 2 pods in 0.5 s, all as it should be\n"), "{text}");
        alike.results.iter_mut().for_each(|result| result.check = None);
        assert!(render(&alike, true).contains("held against nothing"));
        assert_eq!(summary(&[alike, report()]), "1 of 2 situations as they should be, 1.0 s of measuring\n");
    }
}
