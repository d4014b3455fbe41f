use super::*;
use crate::testing::build::at;

const CALM: [Pressure; 3] = [Pressure::No; 3];

fn shown(conditions: &[NodeCondition]) -> Vec<String> {
    let line = |c: &NodeCondition| {
        format!(
            "{}={} {} {}",
            c.type_,
            c.status,
            c.reason.as_deref().unwrap_or(""),
            c.message.as_deref().unwrap_or("")
        )
    };
    conditions.iter().map(line).collect()
}

fn problems(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn first_conditions_stand_in_upstreams_order() {
    assert_eq!(
        shown(&conditions(&[], CALM, &[], at(0))),
        [
            "MemoryPressure=False KubeletHasSufficientMemory kubelet has sufficient memory available",
            "DiskPressure=False KubeletHasNoDiskPressure kubelet has no disk pressure",
            "PIDPressure=False KubeletHasSufficientPID kubelet has sufficient PID available",
            "Ready=True KubeletReady kubelet is posting ready status",
        ]
    );
    assert_eq!(
        shown(&conditions(&[], [Pressure::Yes; 3], &problems(&["broken"]), at(0))),
        [
            "MemoryPressure=True KubeletHasInsufficientMemory kubelet has insufficient memory available",
            "DiskPressure=True KubeletHasDiskPressure kubelet has disk pressure",
            "PIDPressure=True KubeletHasInsufficientPID kubelet has insufficient PID available",
            "Ready=False KubeletNotReady broken",
        ]
    );
}

#[test]
fn several_problems_are_joined_in_brackets() {
    for (list, message) in [
        (vec!["a"], "a"),
        (vec!["a", "b"], "[a, b]"),
        (vec!["a", "a"], "a"),
        (vec!["a", "b", "a"], "[a, b]"),
    ] {
        assert_eq!(joined(&problems(&list)), message);
    }
}

#[test]
fn transition_time_moves_with_the_status_only() {
    let first = conditions(&[], CALM, &problems(&["a"]), at(0));
    let same = conditions(&first, CALM, &problems(&["b"]), at(10));
    assert_eq!(same[3].last_transition_time, Some(Time(at(0))));
    assert_eq!(same[3].last_heartbeat_time, Some(Time(at(10))));
    let turned = conditions(&same, CALM, &[], at(20));
    assert_eq!(turned[3].last_transition_time, Some(Time(at(20))));
    assert_eq!(turned[0].last_transition_time, Some(Time(at(0))));
}

#[test]
fn conditions_of_others_stay_where_they_are() {
    let foreign = NodeCondition {
        type_: "NetworkUnavailable".into(),
        status: "False".into(),
        ..NodeCondition::default()
    };
    let first = conditions(std::slice::from_ref(&foreign), CALM, &[], at(0));
    assert_eq!(first[0], foreign);
    assert_eq!(first.len(), 5);
    assert_eq!(shown(&conditions(&first, CALM, &[], at(0))), shown(&first));
}

#[test]
fn changes_are_events() {
    let ready = conditions(&[], CALM, &[], at(0));
    assert_eq!(
        transition_events(&[], &ready),
        ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"]
    );
    assert!(transition_events(&ready, &ready).is_empty());
    let worse = conditions(&ready, [Pressure::Yes; 3], &problems(&["x"]), at(1));
    assert_eq!(
        transition_events(&ready, &worse),
        [
            "NodeHasInsufficientMemory",
            "NodeHasDiskPressure",
            "NodeHasInsufficientPID",
            "NodeNotReady"
        ]
    );
    assert_eq!(transition_events(&worse, &ready).last(), Some(&"NodeReady"));
    assert!(is_ready(&ready) && !is_ready(&worse) && !is_ready(&[]));
}

#[test]
fn pressure_stays_for_the_transition_period() {
    let mut history = PressureHistory::default();
    assert_eq!(
        history.observe([true, false, false], at(0)),
        [Pressure::Yes, Pressure::No, Pressure::No]
    );
    assert_eq!(history.observe([false; 3], at(299))[0], Pressure::Yes);
    assert_eq!(history.observe([false; 3], at(300))[0], Pressure::No);
}
