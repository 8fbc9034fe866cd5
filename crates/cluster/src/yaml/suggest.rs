//! The name that was probably meant.

/// The one of `known` that `written` is most likely a slip of, if any is near enough.
///
/// Letters' case counts for nothing, so that `podCidrs` finds `podCIDRs`; beyond that a third of the word may differ.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if written.len() > LONGEST {
        return None;
    }
    let folded: Vec<char> = written.to_lowercase().chars().collect();
    let allowed = (folded.len() / 3).max(1);
    known
        .into_iter()
        .filter(|name| name.len() <= LONGEST)
        .map(|name| (distance(&folded, &name.to_lowercase().chars().collect::<Vec<_>>()), name))
        .filter(|&(distance, name)| distance <= allowed && distance < name.len())
        .min()
        .map(|(_, name)| name)
}

/// Damerau's distance with adjacent transpositions ("optimal string alignment").
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && *x == b[j - 1] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_slips_only() {
        let known = ["replicas", "selector", "template", "podCIDRs", "name"];
        for (written, meant) in [
            ("replica", Some("replicas")),
            ("repilcas", Some("replicas")),
            ("podCidrs", Some("podCIDRs")),
            ("podCIDR", Some("podCIDRs")),
            ("nmae", Some("name")),
            ("containers", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
