//! Tables for people, JSON for programs.

use serde_json::{Value, json};

use crate::peers::Compared;

/// What has been measured.
pub(crate) struct Report {
    names: Vec<String>,
    rounds: usize,
    json: bool,
    rows: Vec<Value>,
}

/// Something measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    digits: usize,
}

impl Metric {
    pub(crate) const fn new(name: &'static str, unit: &'static str, digits: usize) -> Self {
        Self { name, unit, digits }
    }
}

impl Report {
    pub(crate) fn new(compared: &[Compared], rounds: usize, json: bool) -> Self {
        let names = compared.iter().map(|compared| compared.name.clone()).collect();
        Self { names, rounds, json, rows: Vec::new() }
    }

    /// One table: for each metric and each device its samples, one a round. The first device's ratio to each other is that
    /// of the same rounds.
    pub(crate) fn table(&mut self, title: &str, metrics: &[Metric], samples: &[Vec<Vec<f64>>]) {
        if !self.json {
            println!("\n{title}\n\n| | {} |", self.names.join(" | "));
            println!("|---|{}", "---|".repeat(self.names.len()));
        }
        for (metric, samples) in metrics.iter().zip(samples) {
            let cells: Vec<String> = samples
                .iter()
                .enumerate()
                .map(|(at, values)| cell(metric, values, (at > 0).then(|| samples[0].as_slice())))
                .collect();
            if !self.json {
                println!("| {}, {} | {} |", metric.name, metric.unit, cells.join(" | "));
            }
            for (name, values) in self.names.iter().zip(samples) {
                self.rows.push(json!({
                    "table": title, "metric": metric.name, "unit": metric.unit, "device": name,
                    "median": finite(median(values)), "least": finite(edge(values, f64::min)),
                    "greatest": finite(edge(values, f64::max)),
                    "oursDividedByIt": finite(median(&ratios(&samples[0], values))),
                    "samples": values.iter().map(|value| finite(*value)).collect::<Vec<_>>(),
                }));
            }
        }
    }

    pub(crate) fn end(&self) {
        if self.json {
            let text = json!({ "devices": self.names, "rounds": self.rounds, "rows": self.rows });
            println!("{text:#}");
        } else {
            println!("\nmedian (least – greatest) of {} rounds; ×: ours divided by it", self.rounds);
        }
    }
}

fn cell(metric: &Metric, values: &[f64], ours: Option<&[f64]>) -> String {
    let digits = metric.digits;
    if median(values).is_nan() {
        return "–".into();
    }
    let text = format!(
        "{:.digits$} ({:.digits$} – {:.digits$})",
        median(values),
        edge(values, f64::min),
        edge(values, f64::max)
    );
    match ours {
        Some(ours) => format!("{text} × {:.2}", median(&ratios(ours, values))),
        None => text,
    }
}

fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

/// Of those that were measured.
fn median(values: &[f64]) -> f64 {
    let mut values: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 0 => (values[len / 2 - 1] + values[len / 2]) / 2.0,
        len => values[len / 2],
    }
}

fn edge(values: &[f64], pick: fn(f64, f64) -> f64) -> f64 {
    values.iter().copied().fold(f64::NAN, pick)
}

/// JSON has no other numbers.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
