#!/usr/bin/env python3
"""Writes the two Grafana dashboards from the tables below.

    python3 configs/grafana/generate.py            writes dashboards/*.json beside this file
    python3 configs/grafana/generate.py --check    exits 1 if a committed file differs

To change a dashboard, change a row here, run it and commit both. Every query is asked of a real Prometheus in
client/cli/tests/operations; panels are of plain types, so that old and new versions of Grafana read them.
"""

import json
import sys
from pathlib import Path

# Stands in every selector: the series of the chosen jobs and instances.
HERE = 'job=~"$job",instance=~"$instance"'
# The same, for series of the swarm view.
MODEL = HERE + ',model=~"$model"'
# The window of every rate; Grafana makes it at least four scrapes long.
WINDOW = "$__rate_interval"


def rate(series, by=""):
    """Sum of the per-second rates of `series`, kept apart by the labels `by`."""
    return f"sum{f' by ({by}) ' if by else ''}(rate({series}[{WINDOW}]))"


def quantile(q, name, labels, by=""):
    """A quantile of the histogram `name`; series without a sample in the window are left out."""
    kept = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, sum by ({kept}) (rate({name}_bucket{{{labels}}}[{WINDOW}]))) >= 0"


def quantiles(name, labels, *wanted):
    return [(quantile(q, name, labels), f"p{q * 100:g}") for q in wanted]


def mean(name, by):
    """Mean of all samples of the histogram `name` since the process began: for what happens rarely."""
    return f"sum by ({by}) ({name}_sum{{{HERE}}}) / sum by ({by}) ({name}_count{{{HERE}}})"


# One panel each: kind, unit, title, description, [(query, legend)].
OVERVIEW = [
    ("Health", [
        ("stat", "short", "Models fully covered",
         "Models of which every block has an online server, as the clients see the swarm.",
         [(f"count((max by (model) (swarm_model_blocks_covered{{{MODEL}}}) >= max by (model) (swarm_model_blocks{{{MODEL}}})) > 0)"
           " or vector(0)", "models")]),
        ("stat", "short", "Servers online",
         "Servers that announce themselves as serving, by model.",
         [(f'max by (model) (swarm_servers{{{MODEL},state="online"}})', "{{model}}")]),
        ("stat", "short", "Worst block replicas",
         "Online servers of the block that has fewest. 1: the next failure stops the model. 0: it is stopped.",
         [(f"min by (model) (swarm_model_block_replicas_min{{{MODEL}}})", "{{model}}")]),
        ("stat", "s", "p95 time of a token",
         "95 % of the steps that make one new token take less than this, through the whole chain.",
         [(quantile(0.95, "block_client_step_duration_seconds", HERE + ',phase="decode"'), "p95")]),
        ("stat", "s", "Age of the swarm view",
         "Seconds since a client last read the servers' records. Refreshed every minute.",
         [(f"time() - max by (instance) (swarm_last_refresh_timestamp_seconds{{{HERE}}} > 0)", "{{instance}}")]),
    ]),
    ("Users", [
        ("timeseries", "short", "Tokens per second",
         "Decode steps per second of all sessions. A step is one new token of each of its sequences.",
         [(rate(f'block_client_step_duration_seconds_count{{{HERE},phase="decode"}}', "instance"), "{{instance}}")]),
        ("timeseries", "s", "Time of a token p50/p95/p99",
         "Time of a decode step through the whole chain, repairs included.",
         quantiles("block_client_step_duration_seconds", HERE + ',phase="decode"', 0.5, 0.95, 0.99)),
        ("heatmap", "s", "Time of a token",
         "How the times of decode steps are spread: the darker, the more steps.",
         [(f'sum by (le) (increase(block_client_step_duration_seconds_bucket{{{HERE},phase="decode"}}[{WINDOW}]))', "{{le}}")]),
        ("timeseries", "s", "Step p95 by phase",
         "prefill: a prompt or a part of it. decode: one new token. forward, backward: whole sequences without a cache.",
         [(quantile(0.95, "block_client_step_duration_seconds", HERE, "phase"), "{{phase}}")]),
        ("timeseries", "short", "Open sessions",
         "Sessions that clients hold open across the swarm.",
         [(f"sum by (instance) (block_client_sessions_active{{{HERE}}})", "{{instance}}")]),
        ("timeseries", "ops", "Sessions ended by outcome",
         "failed: an error that could not be repaired. cancelled: dropped by its owner.",
         [(rate(f"block_client_sessions_total{{{HERE}}}", "outcome"), "{{outcome}}")]),
    ]),
    ("Swarm", [
        ("timeseries", "short", "Servers by state",
         "Servers seen in the DHT. All clients see the same swarm, so this is the largest of their numbers, not the sum.",
         [(f"max by (model, state) (swarm_servers{{{MODEL}}})", "{{model}} {{state}}")]),
        ("timeseries", "short", "Bottleneck throughput",
         "Announced tokens per second, summed over the servers of the weakest block.",
         [(f"min by (model, kind) (swarm_model_bottleneck_tokens_per_second{{{MODEL}}})", "{{model}} {{kind}}")]),
        ("timeseries", "short", "Blocks without a server",
         "Blocks that no online server offers. Above zero, nobody can use the model.",
         [(f"max by (model) (swarm_model_blocks{{{MODEL}}} - swarm_model_blocks_covered{{{MODEL}}})", "{{model}}")]),
        ("table", "short", "Servers by version",
         "Servers per announced version.",
         [(f"max by (version) (swarm_servers_by_version{{{HERE}}})", "{{version}}")]),
        ("timeseries", "ops", "Refreshes of the swarm view",
         "error: the DHT gave nothing, so the clients go on with what they knew.",
         [(rate(f"swarm_refreshes_total{{{HERE}}}", "outcome"), "{{outcome}}")]),
        ("timeseries", "s", "Time of a refresh (mean)",
         "Mean time to read all records of a model, since the client began.",
         [(mean("swarm_refresh_duration_seconds", "instance"), "{{instance}}")]),
    ]),
    ("Routing", [
        ("timeseries", "short", "Servers in a route (mean)",
         "Mean number of servers that a session goes through, since the client began.",
         [(mean("block_client_route_hops", "instance"), "{{instance}}")]),
        ("timeseries", "ops", "Routes computed",
         "no_route: some block has no server, or none that may be used now.",
         [(rate(f"block_client_route_builds_total{{{HERE}}}", "mode, outcome"), "{{mode}} {{outcome}}")]),
        ("timeseries", "s", "Time of a hop p50/p95/p99",
         "Time of one server's part of a decode step, the way there and back included.",
         quantiles("block_client_hop_duration_seconds", HERE + ',phase="decode"', 0.5, 0.95, 0.99)),
        ("timeseries", "ops", "Hop failures by reason",
         "disconnected: the server went away. timeout: it fell silent. overloaded: it had no room.",
         [(rate(f"block_client_hop_failures_total{{{HERE}}}", "reason"), "{{reason}}")]),
        ("timeseries", "ops", "Failovers",
         "Repairs of sessions whose server failed. failed: the session ended with an error.",
         [(rate(f"block_client_failovers_total{{{HERE}}}", "outcome"), "{{outcome}}")]),
        ("timeseries", "short", "Replayed tokens per second",
         "Tokens that were sent again to fill a new server's cache.",
         [(rate(f"block_client_replayed_tokens_total{{{HERE}}}"), "replayed")]),
        ("timeseries", "short", "Banned servers",
         "Servers that clients leave alone for a while after a failure.",
         [(f"sum by (instance) (block_client_banned_peers{{{HERE}}})", "{{instance}}")]),
    ]),
]

SERVER = [
    ("Now", [
        ("stat", "short", "State",
         "The state that each server announces.",
         [(f"block_server_state{{{HERE}}} == 1", "{{instance}} {{state}}")]),
        ("stat", "short", "Blocks served",
         "Number of blocks of each server.",
         [(f"block_server_end_block{{{HERE}}} - block_server_start_block{{{HERE}}}", "{{instance}}")]),
        ("stat", "short", "Open sessions",
         "Inference sessions that the servers hold open.",
         [(f"sum(block_server_sessions_active{{{HERE}}})", "sessions")]),
        ("gauge", "percentunit", "KV cache used",
         "Share of the KV cache that sessions have reserved. Full: new sessions wait or are refused.",
         [(f'sum by (instance) (block_server_kv_cache_tokens{{{HERE},state="used"}})'
           f" / sum by (instance) (block_server_kv_cache_tokens{{{HERE}}})", "{{instance}}")]),
        ("stat", "s", "Age of the announcement",
         "Seconds since the last successful announcement. Clients forget a server after five minutes without one.",
         [(f"time() - max by (instance) (swarm_dht_last_announce_timestamp_seconds{{{HERE}}} > 0)", "{{instance}}")]),
        ("table", "short", "What each server serves",
         "Model, type of the hidden states and of the weights, and device.",
         [(f"max by (instance, model, dtype, quant_type, device) (block_server_info{{{MODEL}}})", "{{instance}}")]),
    ]),
    ("Work", [
        ("timeseries", "reqps", "RPCs by method",
         "Finished requests. Each step of a session counts as one rpc_inference.",
         [(rate(f"block_server_rpc_requests_total{{{HERE}}}", "method"), "{{method}}")]),
        ("timeseries", "reqps", "RPC failures by code",
         "internal and timeout are the server's fault, overloaded its size, bad_request and cancelled the caller's.",
         [(rate(f'block_server_rpc_requests_total{{{HERE},code!="ok"}}', "code"), "{{code}}")]),
        ("timeseries", "reqps", "Requests refused by reason",
         "Requests that were refused before work began.",
         [(rate(f"block_server_rejected_total{{{HERE}}}", "reason"), "{{reason}}")]),
        ("timeseries", "s", "Compute time p95 by phase",
         "Time of the arithmetic of one step. prefill: several new tokens. decode: one.",
         [(quantile(0.95, "block_server_step_stage_duration_seconds", HERE + ',stage="compute"', "phase"), "{{phase}}")]),
        ("timeseries", "s", "Where a decode step goes (mean)",
         "Mean time of each stage of a decode step; a growing queue means that the device is the bottleneck.",
         [(rate(f'block_server_step_stage_duration_seconds_sum{{{HERE},phase="decode"}}', "stage") + " / "
           + rate(f'block_server_step_stage_duration_seconds_count{{{HERE},phase="decode"}}', "stage"), "{{stage}}")]),
        ("timeseries", "short", "Tokens per second by phase",
         "Tokens run through the blocks of each server.",
         [(rate(f"block_server_tokens_total{{{HERE}}}", "instance, phase"), "{{instance}} {{phase}}")]),
        ("timeseries", "ops", "Sessions ended by outcome",
         "idle_timeout: no step came in time. error: a step failed. cancelled: the client vanished.",
         [(rate(f"block_server_sessions_total{{{HERE}}}", "outcome"), "{{outcome}}")]),
        ("timeseries", "ops", "Pushes to the next server",
         "Outputs handed on directly. After an error the client's own copy does the work, a round trip later.",
         [(rate(f"block_server_peer_pushes_total{{{HERE}}}", "outcome"), "{{outcome}}")]),
        ("timeseries", "short", "Announced tokens per second",
         "What each server says of its own speed; clients choose routes by it.",
         [(f"max by (instance, kind) (block_server_announced_tokens_per_second{{{HERE}}})", "{{instance}} {{kind}}")]),
    ]),
    ("Machine", [
        ("timeseries", "bytes", "Memory by purpose",
         "Memory held for weights and for the KV caches of sessions.",
         [(f"sum by (instance, pool) (block_server_memory_bytes{{{HERE}}})", "{{instance}} {{pool}}")]),
        ("timeseries", "bytes", "Memory of the process",
         "Resident memory.",
         [(f"max by (instance) (process_resident_memory_bytes{{{HERE}}})", "{{instance}}")]),
        ("timeseries", "short", "Queue depth",
         "Tasks that wait for the device.",
         [(f"sum by (instance, pool) (block_server_queue_depth{{{HERE}}})", "{{instance}} {{pool}}")]),
        ("timeseries", "short", "Processor cores in use",
         "Seconds of processor time per second.",
         [(rate(f"process_cpu_seconds_total{{{HERE}}}", "instance"), "{{instance}}")]),
        ("timeseries", "percentunit", "File descriptors in use",
         "Share of the process's limit. Each connection takes one.",
         [(f"max by (instance) (process_open_fds{{{HERE}}} / process_max_fds{{{HERE}}})", "{{instance}}")]),
        ("timeseries", "ops", "Log lines by level",
         "error and warn should be rare.",
         [(rate(f"block_log_messages_total{{{HERE}}}", "level"), "{{level}}")]),
    ]),
    ("Network", [
        ("timeseries", "Bps", "Payload bytes in/out",
         "Bytes of requests and answers of the block service.",
         [(rate(f"block_server_rpc_received_bytes_total{{{HERE}}}"), "in"),
          (rate(f"block_server_rpc_sent_bytes_total{{{HERE}}}"), "out")]),
        ("timeseries", "Bps", "Bytes by protocol",
         "All bytes of peer-to-peer streams. handler: the block service. dht: records of the swarm.",
         [(rate(f"swarm_p2p_received_bytes_total{{{HERE}}}", "protocol"), "{{protocol}} in"),
          (rate(f"swarm_p2p_sent_bytes_total{{{HERE}}}", "protocol"), "{{protocol}} out")]),
        ("timeseries", "short", "Connections",
         "Open peer connections.",
         [(f"sum by (direction, path) (swarm_p2p_connections{{{HERE}}})", "{{direction}} {{path}}")]),
        ("timeseries", "ops", "Dials by outcome",
         "Attempts to connect to other peers.",
         [(rate(f"swarm_p2p_dials_total{{{HERE}}}", "outcome"), "{{outcome}}")]),
        ("timeseries", "reqps", "DHT RPC failures",
         "Requests to and from the DHT that failed. Some are normal: peers come and go.",
         [(rate(f'swarm_dht_requests_total{{{HERE},code!="ok"}}', "rpc, code"), "{{rpc}} {{code}}")]),
        ("timeseries", "short", "Peers in the routing table",
         "Peers that this node can ask. Zero: it is alone.",
         [(f"max by (instance) (swarm_dht_routing_table_peers{{{HERE}}})", "{{instance}}")]),
        ("timeseries", "ops", "Announcements",
         "Announcements of the served blocks, every one or two minutes.",
         [(rate(f"swarm_dht_announces_total{{{HERE}}}", "outcome"), "{{outcome}}")]),
        ("stat", "short", "Reachability",
         "Whether other peers can connect to each server, as they said.",
         [(f"swarm_p2p_reachability{{{HERE}}} == 1", "{{instance}} {{state}}")]),
    ]),
]

# uid, title, description, the job that is chosen at first, source of the variable `model`, rows.
DASHBOARDS = [
    ("swarm-overview", "Swarm overview",
     "Users first: what clients get from the swarm, whether every block has servers, and how routes hold.",
     "swarm", f"label_values(swarm_model_blocks{{{HERE}}}, model)", OVERVIEW),
    ("block-server", "Block server",
     "One server or several: state, work, machine and network.",
     "block-server", f"label_values(block_server_info{{{HERE}}}, model)", SERVER),
]

# The same colour for the same state everywhere.
COLOURS = {
    "green": ["ok", "online", "direct", "closed"],
    "yellow": ["joining", "draining", "overloaded", "cancelled", "warn", "relay"],
    "red": ["error", "failed", "unreachable", "internal", "timeout", "no_route"],
    "text": ["offline", "unknown"],
}

# A dashboard is 24 units wide. Width and height of a panel by kind.
GRID_WIDTH = 24
SIZES = {"stat": (4, 4), "gauge": (4, 4), "table": (8, 8), "timeseries": (8, 8), "heatmap": (8, 8)}

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel_options(kind, unit):
    defaults = {"unit": unit, "color": {"mode": "palette-classic"}}
    options = {}
    if kind == "timeseries":
        defaults["min"] = 0
        defaults["custom"] = {"drawStyle": "line", "fillOpacity": 10, "showPoints": "never"}
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    elif kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name", "colorMode": "value"}
    elif kind == "gauge":
        defaults.update(min=0, max=1, color={"mode": "thresholds"}, thresholds={"mode": "absolute", "steps": [
            {"color": "green", "value": None}, {"color": "yellow", "value": 0.8}, {"color": "red", "value": 0.95}]})
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    elif kind == "heatmap":
        options = {"calculate": False, "yAxis": {"unit": unit}, "color": {"mode": "scheme", "scheme": "Oranges"}}
    overrides = [
        {"matcher": {"id": "byRegexp", "options": rf"/(^|\s)({'|'.join(words)})$/"},
         "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}]}
        for colour, words in COLOURS.items() if kind in ("timeseries", "stat")
    ]
    return {"fieldConfig": {"defaults": defaults, "overrides": overrides}, "options": options}


def panel(number, place, kind, unit, title, description, queries):
    targets = []
    for position, (query, legend) in enumerate(queries):
        target = {"refId": "ABCDEF"[position], "datasource": DATASOURCE, "expr": query, "legendFormat": legend}
        if kind == "table":
            target.update(format="table", instant=True)
        elif kind == "heatmap":
            target["format"] = "heatmap"
        targets.append(target)
    built = {"id": number, "type": kind, "title": title, "description": description, "datasource": DATASOURCE,
             "gridPos": place, "targets": targets, **panel_options(kind, unit)}
    if kind == "table":
        hidden = {"id": "organize", "options": {"excludeByName": {"Time": True}}}
        built["transformations"] = [hidden]
    return built


def panels(rows):
    """All panels: each row's in lines, filled from the left."""
    built = []
    top = 0
    for title, row in rows:
        built.append({"id": len(built) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                      "gridPos": {"x": 0, "y": top, "w": GRID_WIDTH, "h": 1}})
        top += 1
        left = line_height = 0
        for entry in row:
            width, height = SIZES[entry[0]]
            if left + width > GRID_WIDTH or (left and height != line_height):
                top, left = top + line_height, 0
            line_height = height
            place = {"x": left, "y": top, "w": width, "h": height}
            built.append(panel(len(built) + 1, place, *entry))
            left += width
        top += line_height
    return built


def variable(name, query, chosen="$__all"):
    return {"name": name, "label": name.title(), "type": "query", "datasource": DATASOURCE,
            "query": {"query": query, "refId": name}, "definition": query, "multi": True, "includeAll": True,
            "allValue": ".+", "current": {"text": ["All" if chosen == "$__all" else chosen], "value": [chosen]}, "refresh": 2, "sort": 1, "hide": 0}


def dashboard(uid, title, description, job, models, rows):
    datasource = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
                  "current": {}, "hide": 0, "refresh": 1}
    link = {"title": "Swarm and servers", "type": "dashboards", "tags": ["block-server"], "asDropdown": False,
            "includeVars": False, "keepTime": True, "targetBlank": False}
    return {
        "uid": uid, "title": title, "description": description, "tags": ["block-server"], "schemaVersion": 39,
        "version": 1, "editable": False, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"}, "links": [link], "annotations": {"list": []},
        "templating": {"list": [
            datasource,
            variable("job", "label_values(block_build_info, job)", job),
            variable("instance", 'label_values(block_build_info{job=~"$job"}, instance)'),
            variable("model", models),
        ]},
        "panels": panels(rows),
    }


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    folder = Path(__file__).parent / "dashboards"
    stale = []
    for uid, *rest in DASHBOARDS:
        path = folder / f"{uid}.json"
        text = json.dumps(dashboard(uid, *rest), indent=2, ensure_ascii=False) + "\n"
        if not check:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"not what generate.py makes: {', '.join(stale)}")


main()
