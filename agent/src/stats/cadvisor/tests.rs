use expect_test::expect_file;

use super::super::fixtures;
use super::*;

#[test]
fn the_page_has_cadvisor_s_families_and_labels() {
    expect_file!["golden/cadvisor.txt"].assert_eq(&render_cadvisor(&fixtures::snapshot()));
}

#[test]
fn every_family_of_the_table_is_written() {
    let page = render_cadvisor(&fixtures::snapshot());
    for (name, ..) in FAMILIES {
        assert!(page.contains(&format!("# TYPE {name} ")), "{name} is named and never written");
    }
}

#[test]
fn throttling_is_shown_only_with_a_quota() {
    let mut snapshot = fixtures::snapshot();
    snapshot.pods.clear();
    snapshot.groups.clear();
    let root = snapshot.node.measured.as_mut().unwrap();
    root.usage.more.as_mut().unwrap().cpu.quota_us = None;
    let page = render_cadvisor(&snapshot);
    assert!(!page.contains("container_cpu_cfs"), "{page}");
    assert!(!page.contains("container_spec_cpu_quota"), "{page}");
    assert!(page.contains("container_spec_cpu_shares"), "{page}");
}

#[test]
fn devices_that_hold_several_things_are_shown_once() {
    let mut snapshot = fixtures::snapshot();
    snapshot.pods.clear();
    let store = snapshot.node.image_fs.as_mut().unwrap();
    store.fs = snapshot.node.fs.clone();
    let page = render_cadvisor(&snapshot);
    let series = page.lines().filter(|line| line.starts_with("container_fs_limit_bytes{"));
    assert_eq!(series.count(), 1);
}
