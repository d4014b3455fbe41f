use expect_test::{expect, expect_file};

use super::super::fixtures;
use super::*;

#[test]
fn the_page_has_the_kubelet_s_families() {
    expect_file!["golden/resource.txt"].assert_eq(&render_resource(&fixtures::essential()));
}

#[test]
fn a_figure_that_is_not_known_has_no_series() {
    let mut snapshot = fixtures::essential();
    snapshot.node.measured = None;
    snapshot.pods[1].measured = None;
    let container = &mut snapshot.pods[1].containers[0];
    container.created_at = None;
    container.measured.as_mut().unwrap().usage.swap = None;
    let page = render_resource(&snapshot);
    let named: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(
        named,
        [
            "container_cpu_usage_seconds_total counter",
            "container_memory_working_set_bytes gauge",
            "resource_scrape_error gauge",
        ]
    );
}

#[test]
fn the_failed_page_says_so_and_nothing_else() {
    expect![[r#"
        # HELP resource_scrape_error 1 when figures could not be read, else 0.
        # TYPE resource_scrape_error gauge
        resource_scrape_error 1
    "#]]
    .assert_eq(&render_failed_resource());
}
