//! The dashboards are what their script makes, and keep the rules of grafana/dashboard-linter:
//!
//! | rule                                  | asks for                                                           |
//! |---------------------------------------|--------------------------------------------------------------------|
//! | template-datasource, -job, -instance  | these variables, of these types and labels, several values at once |
//! | template-label-promql                 | queries of variables are `label_values(…)`                         |
//! | panel-datasource                      | every panel asks the chosen data source                            |
//! | panel-title-description, panel-units  | on every panel                                                     |
//! | target-promql                         | asked of Prometheus in [`crate::live`]                             |
//! | target-rate-interval                  | every window is `$__rate_interval`                                 |
//! | target-job, target-instance           | in every selector                                                  |

use std::collections::BTreeSet;
use std::process::Command;

use block_testing::repository;
use serde_json::{Value, json};

use crate::queries::{DASHBOARDS, dashboard, panels, queries};

#[test]
fn the_committed_files_are_what_the_script_makes() {
    let script = repository().join("configs/grafana/generate.py");
    let check = Command::new("python3.11")
        .arg(script)
        .arg("--check")
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{problem}");
}

#[test]
fn variables_choose_data_source_job_instance_and_model() {
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = variables
            .iter()
            .map(|variable| variable["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["datasource", "job", "instance", "model"], "{name}");
        assert_eq!(
            (
                &variables[0]["type"],
                &variables[0]["query"],
                &variables[0]["label"]
            ),
            (
                &json!("datasource"),
                &json!("prometheus"),
                &json!("Data source")
            )
        );
        for variable in &variables[1..] {
            assert_eq!(variable["type"], "query", "{name}");
            assert_eq!(variable["datasource"]["uid"], "${datasource}");
            assert_eq!(
                (
                    &variable["multi"],
                    &variable["includeAll"],
                    &variable["allValue"]
                ),
                (&json!(true), &json!(true), &json!(".+"))
            );
            // As the time range changes.
            assert_eq!(variable["refresh"], 2);
            let query = variable["query"]["query"].as_str().unwrap();
            assert!(
                query.starts_with("label_values(") && query.ends_with(')'),
                "{query}"
            );
        }
        assert_eq!(variables[1]["label"], "Job");
        assert_eq!(variables[2]["label"], "Instance");
    }
}

#[test]
fn every_panel_says_what_it_shows() {
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        let mut titles = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            let description = panel["description"].as_str().unwrap();
            assert!(!title.is_empty() && description.ends_with('.'), "{panel}");
            assert!(
                titles.insert((title, panel["type"].as_str())),
                "{title} twice"
            );
            let kind = panel["type"].as_str().unwrap();
            assert!(
                ["stat", "gauge", "timeseries", "heatmap", "table"].contains(&kind),
                "{kind}"
            );
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
            assert!(
                ["short", "s", "bytes", "Bps", "ops", "reqps", "percentunit"].contains(&unit),
                "{title}: {unit}"
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{title}");
            for target in targets {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            }
        }
    }
}

#[test]
fn the_files_are_for_old_and_new_versions_and_not_for_editing() {
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        assert_eq!(dashboard["schemaVersion"], 39);
        assert_eq!(dashboard["editable"], false);
        assert_eq!(dashboard["refresh"], "30s");
        assert_eq!(dashboard["time"], json!({ "from": "now-1h", "to": "now" }));
        assert_eq!(dashboard["links"][0]["keepTime"], true);
        let ids: BTreeSet<_> = dashboard["panels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|panel| panel["id"].as_u64().unwrap())
            .collect();
        assert_eq!(
            ids.len(),
            dashboard["panels"].as_array().map(Vec::len).unwrap()
        );
        assert_no_overlap(&dashboard);
    }
}

fn assert_no_overlap(dashboard: &Value) {
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let number = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(number("x") + number("w") <= 24, "{}", panel["title"]);
        for x in number("x")..number("x") + number("w") {
            for y in number("y")..number("y") + number("h") {
                assert!(
                    taken.insert((x, y)),
                    "{} lies on another panel",
                    panel["title"]
                );
            }
        }
    }
}

#[test]
fn every_selector_is_of_the_chosen_job_and_instance() {
    for query in queries() {
        let mut selectors = 0;
        for (start, _) in metric_names(&query.expression) {
            let rest = &query.expression[start..];
            let selector = rest
                .split_once('{')
                .and_then(|(_, rest)| rest.split_once('}'));
            let (selector, _) = selector.unwrap_or_else(|| panic!("{query:?} has a bare selector"));
            assert!(
                selector.starts_with(r#"job=~"$job",instance=~"$instance""#),
                "{query:?}"
            );
            selectors += 1;
        }
        assert!(selectors > 0, "{query:?}");
        let windows: Vec<_> = query.expression.split('[').skip(1).collect();
        assert!(
            windows
                .iter()
                .all(|window| window.starts_with("$__rate_interval]")),
            "{query:?}"
        );
        assert_counters_are_rates(&query.expression);
    }
}

/// Where the names of our metrics begin.
fn metric_names(expression: &str) -> impl Iterator<Item = (usize, &str)> {
    ["block_", "swarm_", "process_"]
        .into_iter()
        .flat_map(|prefix| expression.match_indices(prefix))
        .filter(|(start, _)| {
            let before = expression[..*start].chars().next_back();
            before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
        })
}

/// A counter's value means nothing, its growth does.
fn assert_counters_are_rates(expression: &str) {
    for (start, _) in expression.match_indices("_total{") {
        let name = expression[..start].rfind(|c: char| !(c.is_alphanumeric() || c == '_'));
        let before = &expression[..=name.unwrap()];
        assert!(before.ends_with("rate("), "{expression}");
    }
}
