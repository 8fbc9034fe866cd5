//! Numbers as people read them, and tables.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// `3.2 s`, `4 min`, `2 h`: two digits are enough to know.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 119.5 => format!("{s:.0} s"),
        s if s < 7_170.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_000.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

/// `2026-11-29`: a day, from seconds since 1970, in UTC.
pub(crate) fn date(seconds: u64) -> String {
    // Days since 0000-03-01, so that a leap day is a year's last; a 400 years' cycle has 146097 days.
    let days = seconds / 86_400 + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{day:02}", cycle * 400 + year + u64::from(month <= 2))
}

/// `14.2 ms`, `0.31 ms`.
pub(crate) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 0.995 => format!("{ms:.2} ms"),
        ms if ms < 99.95 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

/// `812 B`, `21.4 MB`: powers of ten, as network people count.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            let digits = usize::from(unit != "B" && value < 99.95);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1_000.0;
    }
    format!("{value:.1} TB")
}

/// A table without lines; `right` are the columns whose numbers stand under each other.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>, right: &[usize]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for (n, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if n == 0 { 2 } else { 0 }, 2));
        if right.contains(&n) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (seconds, text) in [
            (0.0, "0.0 s"),
            (9.949, "9.9 s"),
            (9.96, "10 s"),
            (119.0, "119 s"),
            (120.0, "2 min"),
            (7_199.0, "2 h"),
            (200_000.0, "2 d"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        for (seconds, text) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_795_910_400, "2026-11-29"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(seconds), text);
        }
        for (ms, text) in [(0.314, "0.31 ms"), (1.0, "1.0 ms"), (14.25, "14.2 ms"), (99.96, "100 ms")] {
            assert_eq!(milliseconds(ms), text);
        }
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_600, "1.0 MB"),
            (21_400_000, "21.4 MB"),
            (123_000_000, "123 MB"),
            (5_000_000_000_000, "5.0 TB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn tables() {
        let rows =
            [vec!["a".to_string(), "1".into(), "x".into()], vec!["bbb".into(), "20".into(), String::new()]];
        assert_eq!(table(&["NAME", "N", "WHY"], rows, &[1]), "  NAME   N  WHY\n  a      1  x\n  bbb   20\n");
    }
}
