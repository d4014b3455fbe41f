use super::*;
use crate::testing::build::{pod, runtime};

fn replaced(attempt: u32) -> SandboxVerdict<'static> {
    SandboxVerdict::Replace { attempt }
}

#[test]
fn sandbox_serves_only_while_it_is_the_one_ready_and_fits_the_spec() {
    let pod = pod("ns/web").container("app").build();
    let none = runtime(&pod).build();
    let good = runtime(&pod).sandbox(2).build();
    let dead = runtime(&pod).sandbox_with(2, |s| s.state = SandboxState::NotReady).build();
    let two = runtime(&pod).sandbox(2).sandbox(3).build();
    let host = runtime(&pod).sandbox_with(2, |s| s.host_network = true).build();
    let bare = runtime(&pod).sandbox_with(2, |s| s.ips.clear()).build();
    let serving = SandboxId::from("sandbox-2");
    let table = [
        ("none", &none, replaced(0)),
        ("good", &good, SandboxVerdict::Serves(&serving)),
        ("not ready", &dead, replaced(3)),
        ("two ready", &two, replaced(4)),
        ("other network", &host, replaced(3)),
        ("no address", &bare, replaced(3)),
    ];
    for (case, held, expected) in table {
        assert_eq!(judge(&pod, held), expected, "{case}");
    }
}

#[test]
fn host_network_sandbox_needs_no_address() {
    let pod = pod("ns/web").container("app").host_network().build();
    let held = runtime(&pod).sandbox(0).build();
    assert!(matches!(judge(&pod, &held), SandboxVerdict::Serves(_)));
}

#[test]
fn replaced_sandbox_stays_while_a_container_of_it_is_kept() {
    let pod = pod("ns/web").container("app").build();
    let not_ready = |s: &mut Sandbox| s.state = SandboxState::NotReady;
    let kept = runtime(&pod).sandbox_with(0, not_ready).exited("app", 0, 1, 5).sandbox(1).build();
    assert!(empty_replaced(&kept).is_empty());
    let empty = runtime(&pod).sandbox_with(0, not_ready).sandbox(1).build();
    assert_eq!(empty_replaced(&empty), [SandboxId::from("sandbox-0")]);
}
