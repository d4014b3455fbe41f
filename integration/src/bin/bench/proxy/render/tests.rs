use integration::proxy_host::ProxyKind;

use super::{BaselineRow, EmptyMemory, Figures, Mode, Row, Shape, render};

fn row(kind: ProxyKind, outcome: Result<Figures, String>) -> Row {
    Row { shape: Shape::Services(1000), mode: Mode::Nftables, kind, outcome }
}

fn figures(scale: f64) -> Figures {
    Figures {
        cold: scale,
        syncing: Some(scale / 2.0),
        restart: 2.0 * scale,
        change: 3.0 * scale,
        addition: 4.0 * scale,
        settled: 10.0 + 5.0 * scale,
        peak: 6.0 * scale,
        idle: 7.0 * scale,
        connection: (8.0 * scale, 9.0 * scale),
        past: (10.0 * scale, 11.0 * scale),
    }
}

#[test]
fn figures_stand_beside_the_ratio_of_both() {
    let rows =
        [row(ProxyKind::KubeProxy, Ok(figures(4.0))), row(ProxyKind::Noded, Ok(figures(1.0)))];
    let empty: EmptyMemory =
        [ProxyKind::Noded, ProxyKind::KubeProxy].map(|kind| ((Mode::Nftables, kind), 10.0)).into();
    let baseline = BaselineRow {
        shape: Shape::Services(1000),
        whose: ProxyKind::Noded,
        what: "nft -f",
        seconds: 0.25,
    };
    let text = render(&rows, &empty, &[baseline]);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(lines[0].matches('|').count(), lines[2].matches('|').count());
    assert_eq!(
        lines[2..5],
        [
            "| 1000 × 2 | nftables | noded | 1.00 | 0.50 | 2.00 | 3.0 | 4.0 | 15.0 / 6.0 | 5.0 | 7.00 \
             | 8 / 9 | 10 / 11 |",
            "| 1000 × 2 | nftables | kube-proxy | 4.00 | 2.00 | 8.00 | 12.0 | 16.0 | 30.0 / 24.0 | 20.0 \
             | 28.00 | 32 / 36 | 40 / 44 |",
            "| | | ratio | 4.0 | 4.0 | 4.0 | 4.0 | 4.0 | 2.0 / 4.0 | 4.0 | 4.0 | 4.0 / 4.0 | 4.0 / 4.0 |",
        ]
    );
    assert_eq!(lines[7], "| 1000 × 2 | noded | nft -f | 0.25 |");
}

#[test]
fn failure_of_one_leaves_the_other() {
    let rows =
        [row(ProxyKind::Noded, Err("no\nnft".into())), row(ProxyKind::KubeProxy, Ok(figures(1.0)))];
    let text = render(&rows, &EmptyMemory::new(), &[]);
    assert!(text.contains("| noded | failed: no nft |\n") && !text.contains("ratio |"), "{text}");
}
