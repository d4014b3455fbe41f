//! Pure. Reports as text for a terminal: short, aligned, without colours.

use std::fmt::Write;

use super::compare::{ChainDifference, Change, DiffReport, LineSide};
use super::packet::{Origin, PacketReport, Trace, TracedStep, TracedWay};
use super::service::{EndpointReport, PortReport, ServiceReport, WayIn};
use super::table::{aligned, percent};

/// Endpoints told one by one; those of a bigger service are counted.
const MOST_ENDPOINTS: usize = 32;

/// What a sync would change; empty when it would change nothing.
pub fn diff_text(report: &DiffReport) -> String {
    let mut text = String::new();
    for family in report.families.iter().filter(|family| !family.chains.is_empty()) {
        let _ = writeln!(text, "{}: {}", family.family, count_chains(&family.chains));
        push_differences(&mut text, &family.chains, "");
    }
    text
}

fn count_chains(chains: &[ChainDifference]) -> String {
    let of = |wanted: Change| chains.iter().filter(|one| one.change == wanted).count();
    let chains = |count, what: &str| match count {
        0 => None,
        1 => Some(format!("1 chain to {what}")),
        count => Some(format!("{count} chains to {what}")),
    };
    let jumps = match of(Change::AddJump) {
        0 => None,
        1 => Some("1 jump to add".to_owned()),
        count => Some(format!("{count} jumps to add")),
    };
    let parts = [
        chains(of(Change::Create), "create"),
        chains(of(Change::Rewrite), "rewrite"),
        chains(of(Change::Delete), "delete"),
        jumps,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn push_differences(text: &mut String, chains: &[ChainDifference], indent: &str) {
    for one in chains {
        let what = match one.change {
            Change::Create => "is missing",
            Change::Rewrite if one.lines.is_empty() => "has the rules in another order",
            Change::Rewrite => "differs",
            Change::Delete => "is stale",
            Change::AddJump => "lacks a jump",
        };
        let _ = writeln!(text, "{indent}{} {} {what}", one.table, one.chain);
        for line in &one.lines {
            let sign = match line.side {
                LineSide::Live => '-',
                LineSide::Planned => '+',
            };
            let _ = writeln!(text, "{indent}{sign} {}", line.rule);
        }
    }
}

/// A service as text.
pub fn service_text(report: &ServiceReport) -> String {
    let mut text = format!("{}  {}\n", report.service, report.kind);
    if let Some(why) = &report.not_proxied {
        let _ = writeln!(text, "not proxied: {why}");
    }
    for port in &report.ports {
        push_port(&mut text, port);
    }
    if !report.kernel.is_empty() {
        text.push('\n');
    }
    for state in &report.kernel {
        match (&state.unread, state.differences.is_empty()) {
            (Some(why), _) => {
                let _ = writeln!(text, "kernel {}: not read: {why}", state.family);
            }
            (None, true) => {
                let _ = writeln!(text, "kernel {}: as planned", state.family);
            }
            (None, false) => {
                let _ = writeln!(
                    text,
                    "kernel {}: differs from the plan (- live, + planned)",
                    state.family
                );
                push_differences(&mut text, &state.differences, "  ");
            }
        }
    }
    text
}

fn push_port(text: &mut String, port: &PortReport) {
    let name = if port.name.is_empty() { String::new() } else { format!("{} ", port.name) };
    let _ = writeln!(text, "\nport {name}{}/{}, {}", port.port, port.protocol, port.family);
    push_section(text, "ways in", &port.ways.iter().map(way_row).collect::<Vec<_>>());
    let mut settings = Vec::new();
    if let Some(seconds) = port.affinity_seconds {
        settings.push(vec![format!("a client goes to the same endpoint for {seconds} s")]);
    }
    push_section(text, "affinity", &settings);
    if !port.source_ranges.is_empty() {
        let only = format!("only {}, on load balancer IPs", port.source_ranges.join(", "));
        push_section(text, "sources", &[vec![only]]);
    }
    if let Some(number) = port.health_check_node_port {
        push_section(text, "health", &[vec![format!("answers load balancers on {number}/tcp")]]);
    }
    let (used, unused): (Vec<_>, Vec<_>) =
        port.endpoints.iter().partition(|endpoint| endpoint.left_out.is_none());
    if used.is_empty() {
        push_section(text, "endpoints", &[vec!["none".to_owned()]]);
    } else {
        let both = port.ways.iter().any(|way| way.policy == "Local");
        push_section(text, "endpoints", &few(&used, |one| endpoint_row(one, both)));
    }
    push_section(text, "left out", &few(&unused, left_out_row));
    push_section(text, "traffic", &traffic_rows(port));
}

fn few(
    endpoints: &[&EndpointReport],
    row: impl Fn(&EndpointReport) -> Vec<String>,
) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> =
        endpoints.iter().take(MOST_ENDPOINTS).map(|endpoint| row(endpoint)).collect();
    if endpoints.len() > MOST_ENDPOINTS {
        rows.push(vec![format!("and {} more", endpoints.len() - MOST_ENDPOINTS)]);
    }
    rows
}

/// Rows behind a heading that stands on the first line only; nothing without rows.
fn push_section(text: &mut String, heading: &str, rows: &[Vec<String>]) {
    let body = aligned(rows, "");
    for (position, line) in body.lines().enumerate() {
        let heading = if position == 0 { heading } else { "" };
        let _ = writeln!(text, "  {heading:<10} {line}");
    }
}

fn way_row(way: &WayIn) -> Vec<String> {
    let place = match way.address {
        Some(address) => std::net::SocketAddr::new(address, way.port).to_string(),
        None => format!("{} on every address of the node", way.port),
    };
    vec![way.way.words().to_owned(), place, format!("policy {}", way.policy)]
}

fn endpoint_row(one: &EndpointReport, both: bool) -> Vec<String> {
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
    let mut row = vec![one.endpoint.to_string(), share(one.cluster_share)];
    if both {
        row[1] = format!("Cluster {}", row[1]);
        row.push(format!("Local {}", share(one.local_share)));
    }
    row.push(one.state.to_owned());
    row.push(place(one));
    row
}

fn place(one: &EndpointReport) -> String {
    let mut parts = Vec::new();
    match (&one.node, one.local) {
        (Some(node), true) => parts.push(format!("{node} (this node)")),
        (Some(node), false) => parts.push(node.clone()),
        (None, _) => parts.push("on no node".to_owned()),
    }
    parts.extend(one.zone.as_ref().map(|zone| format!("zone {zone}")));
    parts.join(", ")
}

fn left_out_row(one: &EndpointReport) -> Vec<String> {
    let why = one.left_out.clone().unwrap_or_default();
    vec![one.endpoint.to_string(), why, place(one)]
}

/// One row for each sender and way; the sender is named once.
fn traffic_rows(port: &PortReport) -> Vec<Vec<String>> {
    let mut before = "";
    let mut rows = Vec::new();
    for one in &port.traffic {
        let from = if one.from == before { String::new() } else { format!("from {}", one.from) };
        before = &one.from;
        let way = format!("to {} {}", one.way.words(), one.to);
        rows.push(vec![from, way, one.outcome.clone()]);
    }
    rows
}

/// A packet as text.
pub fn packet_text(report: &PacketReport) -> String {
    let from = match report.from {
        Origin::Node => "this node",
        Origin::Pod => "a pod",
        Origin::Outside => "outside the cluster's pods",
        Origin::Elsewhere => "another machine or a pod",
    };
    let mut text = format!(
        "packet   {} > {}/{}, from {from}\n",
        report.source, report.destination, report.protocol
    );
    match (&report.service, &report.remark) {
        (Some(hit), _) => {
            let _ = write!(
                text,
                "service  {}, {}, policy {}, {} known",
                hit.name,
                hit.way.words(),
                hit.policy,
                endpoint_count(hit.endpoints)
            );
            if let Some(seconds) = hit.affinity_seconds {
                let _ = write!(text, ", a client keeps its endpoint for {seconds} s");
            }
            text.push('\n');
        }
        (None, Some(remark)) => {
            let _ = writeln!(text, "service  {remark}");
        }
        (None, None) => {}
    }
    let _ = writeln!(text, "outcome  {}", outcome(&report.plan));
    text.push_str("\nplan\n");
    push_trace(&mut text, &report.plan);
    push_live(&mut text, report);
    push_connections(&mut text, report);
    text
}

fn endpoint_count(count: usize) -> String {
    if count == 1 { "1 endpoint".to_owned() } else { format!("{count} endpoints") }
}

fn push_live(text: &mut String, report: &PacketReport) {
    let Some(live) = &report.live else {
        let why = report.live_unread.as_deref().unwrap_or("nobody asked");
        let _ = writeln!(text, "\nkernel: not read: {why}");
        return;
    };
    let same = live.same_outcome(&report.plan);
    let foreign = match live.foreign_rules {
        0 => String::new(),
        1 => "; a rule of others is on the way, its effect is unknown".to_owned(),
        count => format!("; {count} rules of others are on the way, their effect is unknown"),
    };
    if same && report.differences.is_empty() {
        let _ = writeln!(text, "\nkernel: as planned{foreign}");
        push_foreign(text, live);
        return;
    }
    let what = if same { "the same outcome by other rules" } else { "not as planned" };
    let _ = writeln!(text, "\nkernel: {what}{foreign}");
    if !same {
        let _ = writeln!(text, "  outcome: {}", outcome(live));
    }
    push_trace(text, live);
    if !report.differences.is_empty() {
        text.push_str("  differs from the plan (- live, + planned):\n");
        push_differences(text, &report.differences, "  ");
    }
}

fn push_foreign(text: &mut String, live: &Trace) {
    let mut told = std::collections::BTreeSet::new();
    for step in live.ways.iter().flat_map(|way| &way.steps).filter(|step| step.foreign) {
        if told.insert((step.table, &step.chain, step.number)) {
            let _ = writeln!(text, "  not ours: {} {} {}", step.table, step.chain, step.rule);
        }
    }
}

fn push_connections(text: &mut String, report: &PacketReport) {
    match &report.connections {
        None => {}
        Some(known) if known.is_empty() => {
            text.push_str("\nconntrack: no connection from there to that address\n");
        }
        Some(known) => {
            let what = match known.len() {
                1 => "a connection, which keeps its endpoint".to_owned(),
                count => format!("{count} connections, which keep their endpoints"),
            };
            let _ = writeln!(text, "\nconntrack: {what} whatever the rules say");
            let rows: Vec<Vec<String>> = known
                .iter()
                .take(MOST_ENDPOINTS)
                .map(|one| {
                    let from = format!("{} > {}", one.source, one.destination);
                    vec![from, format!("answered by {}", one.answered_by)]
                })
                .collect();
            text.push_str(&aligned(&rows, "  "));
            if known.len() > MOST_ENDPOINTS {
                let _ = writeln!(text, "  and {} more", known.len() - MOST_ENDPOINTS);
            }
        }
    }
}

/// All ends of a trace in one line.
fn outcome(trace: &Trace) -> String {
    let to: Vec<&TracedWay> = trace.ways.iter().filter(|way| way.verdict == "endpoint").collect();
    let masqueraded = |ways: &[&TracedWay]| {
        let count = ways.iter().filter(|way| way.masqueraded).count();
        if count == 0 {
            "source kept"
        } else if count == ways.len() {
            "masqueraded"
        } else {
            "masqueraded on some ways"
        }
    };
    let mut parts = Vec::new();
    match to.as_slice() {
        [] => {}
        [one] => {
            let endpoint = one.endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default();
            parts.push(format!("goes to {endpoint}, {}", masqueraded(&to)));
        }
        all => {
            let mut endpoints: Vec<_> = all.iter().filter_map(|way| way.endpoint).collect();
            endpoints.sort_unstable();
            endpoints.dedup();
            let count = endpoint_count(endpoints.len());
            parts.push(format!("goes to one of {count}, {}", masqueraded(&to)));
        }
    }
    for (verdict, words) in [("rejected", "rejected"), ("dropped", "dropped")] {
        if let Some(way) = trace.ways.iter().find(|way| way.verdict == verdict) {
            let reason = way.reason.as_deref().unwrap_or_default();
            parts.push(format!("{words} by {reason}"));
        }
    }
    if trace.ways.iter().any(|way| way.verdict == "unchanged") {
        parts.push("not changed by the proxy".to_owned());
    }
    parts.join("; or ")
}

/// The rules all ways have in common, then one line for each way.
fn push_trace(text: &mut String, trace: &Trace) {
    for flaw in &trace.flaws {
        let _ = writeln!(text, "  flaw: {flaw}");
    }
    let Some(first) = trace.ways.first() else { return };
    let shared = trace.ways.iter().map(|way| same_start(&first.steps, &way.steps)).min();
    let shared = shared.unwrap_or(0);
    let mut rows: Vec<Vec<String>> = first.steps[..shared].iter().map(step_row).collect();
    for way in &trace.ways {
        let rest = &way.steps[shared..];
        if trace.ways.len() == 1 {
            rows.extend(rest.iter().map(step_row));
        } else {
            rows.push(way_line(way, rest));
        }
        if rows.len() >= MOST_ENDPOINTS + shared {
            break;
        }
    }
    text.push_str(&aligned(&rows, "  "));
    let told = rows.len() - shared;
    if trace.ways.len() > 1 && trace.ways.len() > told {
        let _ = writeln!(text, "  and {} more", trace.ways.len() - told);
    }
}

fn same_start(a: &[TracedStep], b: &[TracedStep]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn step_row(step: &TracedStep) -> Vec<String> {
    let said = match &step.comment {
        _ if step.foreign => format!("not ours: {}", step.rule),
        Some(comment) => comment.clone(),
        None => condition(&step.rule),
    };
    vec![format!("{} {} {}", step.table, step.chain, step.number), step.effect.clone(), said]
}

/// A rule without its target.
fn condition(rule: &str) -> String {
    rule.split("-j ").next().unwrap_or_default().trim().to_owned()
}

fn way_line(way: &TracedWay, rest: &[TracedStep]) -> Vec<String> {
    let end = match (way.endpoint, &way.reason) {
        (Some(endpoint), _) => format!("DNAT to {endpoint}"),
        (None, Some(reason)) => format!("{} by {reason}", way.verdict),
        (None, None) => way.verdict.to_owned(),
    };
    let end = if way.masqueraded { format!("{end}, masqueraded") } else { end };
    // What comes after the choice is the same for all of them.
    let choice = rest.iter().position(|step| step.effect.starts_with("DNAT"));
    let mut chains: Vec<&str> = Vec::new();
    for step in &rest[..choice.map_or(rest.len(), |position| position + 1)] {
        if chains.last() != Some(&&*step.chain) {
            chains.push(&step.chain);
        }
    }
    let mut tail = Vec::new();
    if !way.when.is_empty() {
        tail.push(format!("if {}", way.when.join(" and ")));
    }
    if !chains.is_empty() {
        tail.push(format!("by {}", chains.join(", ")));
    }
    vec![percent(way.share), end, tail.join(", ")]
}
