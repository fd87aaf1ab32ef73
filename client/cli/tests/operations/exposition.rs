//! The Prometheus text format, as far as our exporter writes it.

use std::collections::{BTreeMap, BTreeSet};

/// What one process exports: metrics by name, without the suffixes of histograms.
pub(crate) type Exposition = BTreeMap<String, Family>;

/// One metric.
#[derive(Debug, Default)]
pub(crate) struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: String,
    /// Its meaning.
    pub(crate) help: String,
    /// Values seen of each label, `le` left out.
    pub(crate) labels: BTreeMap<String, BTreeSet<String>>,
}

/// Reads a scraped text.
pub(crate) fn parse(text: &str) -> Exposition {
    let mut families = Exposition::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.is_empty() {
            let (name, labels) = labels_of(line);
            let family = base_name(&families, name);
            let family = families.get_mut(&family).unwrap_or_else(|| {
                panic!("{name} has neither help nor type");
            });
            for (key, value) in labels {
                if key != "le" {
                    family
                        .labels
                        .entry(key.to_owned())
                        .or_default()
                        .insert(value.to_owned());
                }
            }
        }
    }
    families
}

/// The metric that a series belongs to.
fn base_name(families: &Exposition, name: &str) -> String {
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .find(|base| {
            families
                .get(*base)
                .is_some_and(|family| family.kind == "histogram")
        })
        .unwrap_or(name)
        .to_owned()
}

/// Name and labels of a line; no value of ours holds a quotation mark.
fn labels_of(line: &str) -> (&str, Vec<(&str, &str)>) {
    let Some((name, rest)) = line.split_once('{') else {
        return (line.split(' ').next().unwrap(), Vec::new());
    };
    let (labels, _) = rest.rsplit_once('}').unwrap();
    let pairs = labels.split("\",").filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.trim_end_matches('"').split_once("=\"").unwrap());
    (name, pairs.collect())
}
