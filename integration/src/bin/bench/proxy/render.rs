//! Pure. The tables of the proxies.

use std::collections::BTreeMap;
use std::fmt::Write;

use integration::proxy_host::ProxyKind;

use super::options::{Mode, Shape};
use super::subject::Figures;

/// What was measured of one proxy, or why it could not be.
pub struct Row {
    pub shape: Shape,
    pub mode: Mode,
    pub kind: ProxyKind,
    pub outcome: Result<Figures, String>,
}

/// One tool on the rules of one proxy.
pub struct BaselineRow {
    pub shape: Shape,
    pub whose: ProxyKind,
    pub what: &'static str,
    pub seconds: f64,
}

/// Resident memory without Services, MiB.
pub type EmptyMemory = BTreeMap<(Mode, ProxyKind), f64>;

/// How each column is measured.
const METHOD: &str = "
cold: process start until a TCP connection to the Service made last is answered, tried every half \
millisecond; then the rules are dumped once and must mention every address, else the time of the \
dump that does counts. of it syncing: sum of kubeproxy_sync_proxy_rules_duration_seconds. restart: \
process start with all rules in place until an endpoint changed meanwhile answers. endpoint \
changed: watch event of the slice until the new endpoint answers through the Service, median of 5. \
service added: sent, with its slice already there, until it answers, \
median of 5. For 1 × N the rule itself is waited \
for, with iptables -S of its chain or nft monitor. memory: resident, of the process alone. above \
empty: settled less the same process without Services. idle: CPU time a minute with child \
processes. connection: time of connect() to the Service / to an address of no Service.
";

/// One row for each measurement and one with kube-proxy's figures by noded's, then the tools.
pub fn render(rows: &[Row], empty: &EmptyMemory, baselines: &[BaselineRow]) -> String {
    let mut text = METHOD.to_owned();
    text += "\n| services × endpoints | mode | who | cold, s | of it syncing, s | restart, s \
             | endpoint changed, ms | service added, ms | memory settled / peak, MiB \
             | above empty, MiB | idle CPU, s/min | connection p50 / p99, µs | past all p50 / p99 |\n";
    text += &"|---".repeat(13);
    text += "|\n";
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| (row.shape, row.mode, row.kind));
    for row in &sorted {
        let head = format!("| {} | {} | {} |", row.shape.name(), row.mode.name(), row.kind.name());
        match &row.outcome {
            Ok(figures) => {
                let empty = empty.get(&(row.mode, row.kind)).copied();
                let _ = writeln!(text, "{head}{}", cells(figures, empty));
            }
            Err(error) => {
                let _ = writeln!(text, "{head} failed: {} |", error.replace(['\n', '|'], " "));
            }
        }
        if row.kind == ProxyKind::KubeProxy
            && let Some(ratio) = ratio(row, rows, empty)
        {
            text += &ratio;
        }
    }
    if !baselines.is_empty() {
        text += "\n| services × endpoints | rules of | tool, into an empty namespace | s |\n\
                 |---|---|---|---|\n";
    }
    for row in baselines {
        let (shape, whose) = (row.shape.name(), row.whose.name());
        let _ = writeln!(text, "| {shape} | {whose} | {} | {:.2} |", row.what, row.seconds);
    }
    text
}

fn cells(figures: &Figures, empty: Option<f64>) -> String {
    let syncing = figures.syncing.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}"));
    let above =
        empty.map_or_else(|| "-".to_owned(), |empty| format!("{:.1}", figures.settled - empty));
    format!(
        " {:.2} | {syncing} | {:.2} | {:.1} | {:.1} | {:.1} / {:.1} | {above} | {:.2} | {:.0} / {:.0} | \
         {:.0} / {:.0} |",
        figures.cold,
        figures.restart,
        figures.change,
        figures.addition,
        figures.settled,
        figures.peak,
        figures.idle,
        figures.connection.0,
        figures.connection.1,
        figures.past.0,
        figures.past.1,
    )
}

/// kube-proxy's figures by noded's, when both were measured.
fn ratio(theirs: &Row, rows: &[Row], empty: &EmptyMemory) -> Option<String> {
    let is_ours = |row: &&Row| {
        row.kind == ProxyKind::Noded && row.shape == theirs.shape && row.mode == theirs.mode
    };
    let ours = rows.iter().find(is_ours)?.outcome.as_ref().ok()?;
    let figures = theirs.outcome.as_ref().ok()?;
    let by = |pick: fn(&Figures) -> f64| share(pick(figures), pick(ours));
    let empty = |kind| empty.get(&(theirs.mode, kind)).copied();
    let above = match (empty(ProxyKind::KubeProxy), empty(ProxyKind::Noded)) {
        (Some(their_empty), Some(our_empty)) => {
            share(figures.settled - their_empty, ours.settled - our_empty)
        }
        _ => "-".to_owned(),
    };
    let syncing = match (figures.syncing, ours.syncing) {
        (Some(theirs), Some(ours)) => share(theirs, ours),
        _ => "-".to_owned(),
    };
    Some(format!(
        "| | | ratio | {} | {syncing} | {} | {} | {} | {} / {} | {above} | {} | {} / {} | {} / {} |\n",
        by(|figures| figures.cold),
        by(|figures| figures.restart),
        by(|figures| figures.change),
        by(|figures| figures.addition),
        by(|figures| figures.settled),
        by(|figures| figures.peak),
        by(|figures| figures.idle),
        by(|figures| figures.connection.0),
        by(|figures| figures.connection.1),
        by(|figures| figures.past.0),
        by(|figures| figures.past.1),
    ))
}

/// How many times `ours` is in `theirs`; a dash when there is nothing to divide by.
fn share(theirs: f64, ours: f64) -> String {
    if ours > 0.0 { format!("{:.1}", theirs / ours) } else { "-".to_owned() }
}

#[cfg(test)]
mod tests;
