//! Tables for the terminal, CSV for whoever looks closer, and one chart.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::scale;
use crate::statistics::Median;
use crate::traffic::{Sample, Test};
use crate::turns::Arm;

/// What has been measured.
pub(crate) struct Report {
    folder: PathBuf,
    samples: String,
    medians: String,
    costs: String,
    /// Of new connections by services: whose, how many services, microseconds of one.
    points: Vec<(String, u32, Median)>,
}

impl Report {
    pub(crate) fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        Self {
            folder: folder.into(),
            samples: "table,test,size,arm,services,round,rate,cpu_us,p50_us,p99_us,lost\n".into(),
            medians: "table,test,size,arm,services,metric,median,low,high\n".into(),
            costs: "what,services,metric,value\n".into(),
            points: Vec::new(),
        }
    }

    /// A line for people.
    pub(crate) fn say(&self, line: &str) {
        println!("{line}");
    }

    /// A number that stands for itself.
    pub(crate) fn cost(&mut self, what: &str, services: u32, metric: &str, value: f64) {
        writeln!(self.costs, "{what},{services},{metric},{value:.3}").expect("a string takes all");
    }

    /// One test of one size: a line for each arm, its rate against that of `floor` in the same round.
    pub(crate) fn rows(
        &mut self,
        table: &str,
        test: Test,
        size: usize,
        arms: &[Arm<'_>],
        samples: &[Vec<Sample>],
        floor: usize,
    ) {
        let unit = if test == Test::Stream { "Gbit/s" } else { "/s" };
        println!("\n{table}: {} of {size} bytes, against {}", test.name(), arms[floor].name);
        println!("| | services | {unit} | of the floor's | CPU µs | p50 µs | p99 µs | lost |");
        println!("|---|---|---|---|---|---|---|---|");
        for (arm, own) in arms.iter().zip(samples) {
            for (round, s) in own.iter().enumerate() {
                writeln!(
                    self.samples,
                    "{table},{},{size},\"{}\",{},{round},{:.3},{:.3},{:.3},{:.3},{}",
                    test.name(),
                    arm.name,
                    arm.services,
                    s.rate,
                    s.cpu,
                    s.p50,
                    s.p99,
                    s.lost
                )
                .expect("a string takes all");
            }
            let of = |value: fn(&Sample) -> f64| Median::of(&own.iter().map(value).collect::<Vec<_>>());
            let part: Vec<f64> =
                own.iter().zip(&samples[floor]).map(|(own, floor)| own.rate / floor.rate).collect();
            let (rate, part, cpu) = (of(|s| s.rate), Median::of(&part), of(|s| s.cpu));
            let (p50, p99) = (of(|s| s.p50), of(|s| s.p99));
            let lost: usize = own.iter().map(|s| s.lost).sum();
            let metrics = [("rate", rate), ("part", part), ("cpu_us", cpu), ("p50_us", p50), ("p99_us", p99)];
            for (metric, Median { value, low, high }) in metrics {
                writeln!(
                    self.medians,
                    "{table},{},{size},\"{}\",{},{metric},{value:.4},{low:.4},{high:.4}",
                    test.name(),
                    arm.name,
                    arm.services
                )
                .expect("a string takes all");
            }
            let digits = if test == Test::Stream { 2 } else { 0 };
            let time = |m: &Median| if m.value.is_nan() { "–".into() } else { format!("{:.1}", m.value) };
            println!(
                "| {} | {} | {} | {} | {} | {} | {} | {lost} |",
                arm.name,
                arm.services,
                rate.text(digits),
                part.text(2),
                cpu.text(1),
                time(&p50),
                time(&p99)
            );
            if table == scale::TABLE && test == Test::Crr && size == 64 {
                self.points.push((arm.name.clone(), arm.services, p50));
            }
        }
        // What has been measured is not lost with what comes after.
        self.write();
    }

    /// Says where everything is.
    pub(crate) fn end(&self) {
        self.write();
        println!("\nsamples, medians, costs and a chart: {}", self.folder.display());
    }

    fn write(&self) {
        for (name, text) in [
            ("samples.csv", &self.samples),
            ("medians.csv", &self.medians),
            ("costs.csv", &self.costs),
            ("connections.svg", &chart(&self.points)),
        ] {
            let path = self.folder.join(name);
            std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }
}

/// Microseconds of a new connection by the number of services, which is on a logarithmic scale.
fn chart(points: &[(String, u32, Median)]) -> String {
    const COLOURS: [&str; 6] = ["#555555", "#0072b2", "#56b4e9", "#d55e00", "#009e73", "#cc79a7"];
    let (width, height, left, right, bottom) = (720.0, 420.0, 60.0, 30.0, 50.0);
    let top = points.iter().map(|(.., m)| m.high).fold(1.0, f64::max) * 1.05;
    let x = |services: u32| left + (f64::from(services.max(1))).log10() / 5.0 * (width - left - right);
    let y = |us: f64| (height - bottom) - us / top * (height - bottom - 30.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{left}\" y=\"18\">A new \
         connection from a pod to a service (TCP_CRR of 64 bytes): µs, median and 95 % interval</text>\n"
    );
    for decade in 0..=5_u32 {
        let services = 10_u32.pow(decade);
        let at = x(services);
        writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"30\" x2=\"{at:.1}\" y2=\"{0}\" stroke=\"#dddddd\"/>\n<text x=\"{at:.1}\" \
             y=\"{1}\" text-anchor=\"middle\">{services}</text>",
            height - bottom,
            height - bottom + 16.0
        )
        .expect("a string takes all");
    }
    for fifth in 0..=5 {
        let us = top * f64::from(fifth) / 5.0;
        writeln!(
            svg,
            "<line x1=\"{left}\" y1=\"{0:.1}\" x2=\"{1}\" y2=\"{0:.1}\" stroke=\"#dddddd\"/>\n<text x=\"{2}\" \
             y=\"{0:.1}\" text-anchor=\"end\">{us:.0}</text>",
            y(us),
            width - right,
            left - 6.0
        )
        .expect("a string takes all");
    }
    writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">services</text>",
        width / 2.0,
        height - 14.0
    )
    .expect("a string takes all");
    let mut names: Vec<&str> = Vec::new();
    for (name, ..) in points {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    for (n, name) in names.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let own: Vec<_> = points.iter().filter(|(its, ..)| its == name).collect();
        let line: Vec<String> =
            own.iter().map(|(_, services, m)| format!("{:.1},{:.1}", x(*services), y(m.value))).collect();
        writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>", line.join(" "))
            .expect("a string takes all");
        for (_, services, m) in own {
            writeln!(
                svg,
                "<line x1=\"{0:.1}\" y1=\"{1:.1}\" x2=\"{0:.1}\" y2=\"{2:.1}\" stroke=\"{colour}\"/>\n<circle \
                 cx=\"{0:.1}\" cy=\"{3:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(*services),
                y(m.low),
                y(m.high),
                y(m.value)
            )
            .expect("a string takes all");
        }
        // Below what was measured: that starts far from nothing.
        let at = height - bottom - 12.0 - 16.0 * (names.len() - 1 - n) as f64;
        writeln!(svg, "<text x=\"{}\" y=\"{at}\" fill=\"{colour}\">{name}</text>", left + 12.0)
            .expect("a string takes all");
    }
    svg.push_str("</svg>\n");
    svg
}
