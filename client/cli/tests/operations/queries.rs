//! The queries of the dashboards.

use std::fs::read_to_string;

use block_testing::repository;
use serde_json::Value;

/// The dashboards' names.
pub(crate) const DASHBOARDS: [&str; 2] = ["swarm-overview", "block-server"];

/// One query of one panel.
#[derive(Debug)]
pub(crate) struct Query {
    /// Dashboard and panel.
    pub(crate) place: String,
    /// As it stands in the file.
    pub(crate) expression: String,
}

/// A committed dashboard.
pub(crate) fn dashboard(name: &str) -> Value {
    let path = repository().join(format!("configs/grafana/dashboards/{name}.json"));
    serde_json::from_str(&read_to_string(path).unwrap()).unwrap()
}

/// Its panels but for the headings of rows.
pub(crate) fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().unwrap();
    panels.iter().filter(|panel| panel["type"] != "row")
}

/// Every query of every panel.
pub(crate) fn queries() -> Vec<Query> {
    let of_dashboard = |name: &&str| {
        let dashboard = dashboard(name);
        let of_panel = |panel: &Value| {
            let place = format!("{name}, {}", panel["title"].as_str().unwrap());
            let targets = panel["targets"].as_array().unwrap();
            let expressions = targets
                .iter()
                .map(|target| target["expr"].as_str().unwrap());
            let of_target = |expression: &str| Query {
                place: place.clone(),
                expression: expression.to_owned(),
            };
            expressions.map(of_target).collect::<Vec<_>>()
        };
        panels(&dashboard).flat_map(of_panel).collect::<Vec<_>>()
    };
    DASHBOARDS.iter().flat_map(of_dashboard).collect()
}
