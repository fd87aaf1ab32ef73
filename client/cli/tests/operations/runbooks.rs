//! Every alert is explained and tested.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::process::Command;

use block_testing::repository;

/// The rules, as text: one rule's lines begin with `- alert: NAME`.
fn alerts() -> Vec<(String, String)> {
    let rules = read_to_string(repository().join("configs/prometheus/rules.yml")).unwrap();
    let mut parts = rules.split("- alert: ");
    parts.next();
    parts
        .map(|part| {
            let (name, rest) = part.split_once('\n').unwrap();
            (name.to_owned(), rest.to_owned())
        })
        .collect()
}

#[test]
fn every_alert_has_a_severity_a_summary_and_a_runbook() {
    let page = read_to_string(repository().join("docs/operations/alerts.md")).unwrap();
    let headings: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let mut names = BTreeSet::new();
    let alerts = alerts();
    for (name, rule) in &alerts {
        let severity = ["page", "warn", "info"]
            .into_iter()
            .find(|severity| rule.contains(&format!("labels: {{severity: {severity}}}")));
        let severity = severity.unwrap_or_else(|| panic!("{name} has no severity"));
        assert!(rule.contains("summary: \""), "{name}");
        let anchor = format!("docs/operations/alerts.md#{}\"", name.to_lowercase());
        assert!(rule.contains(&anchor), "{name} has no runbook {anchor}");
        assert!(
            page.contains(&format!("## {name}\n\n`{severity}` · ")),
            "{name} is not explained"
        );
        names.insert(name.as_str());
    }
    assert_eq!(headings, names);
}

#[test]
fn every_alert_is_tested_before_and_when_it_fires() {
    let tests = read_to_string(repository().join("configs/prometheus/rules_test.yml")).unwrap();
    for (name, _) in alerts() {
        let quiet = format!("alertname: {name}, exp_alerts: []");
        let firing = format!("alertname: {name}\n    exp_alerts: [{{exp_labels:");
        assert!(tests.contains(&quiet), "{name}: no moment without it");
        assert!(tests.contains(&firing), "{name}: no moment with it");
    }
}

#[test]
fn promtool_takes_the_configuration_and_the_rules() {
    for check in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(check)
            .current_dir(repository().join("configs/prometheus"))
            .output()
            .expect("promtool is there: apt-get install prometheus (.ci/run does)");
        let text = String::from_utf8_lossy(&output.stdout);
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{check:?}: {text}{problem}");
    }
}
