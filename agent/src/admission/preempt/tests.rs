use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::PodSource;

/// A pod with these requests; limits make it Guaranteed.
fn pod(name: &str, (cpu, memory): (u32, u32), guaranteed: bool, priority: i32) -> Pod {
    let amounts = json!({ "cpu": format!("{cpu}m"), "memory": memory.to_string() });
    let resources = match (cpu + memory, guaranteed) {
        (0, _) => json!({}),
        (_, true) => json!({ "requests": amounts, "limits": amounts }),
        (_, false) => json!({ "requests": amounts }),
    };
    let object = json!({
        "metadata": { "uid": name, "name": name, "namespace": "ns" },
        "spec": { "priority": priority, "containers": [{ "name": "c", "resources": resources }] },
    });
    Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
}

fn short(resource: &str, missing: i128) -> Shortage {
    Shortage { resource: resource.to_owned(), requested: missing, used: 0, capacity: 0 }
}

fn names(pods: &[Pod], needs: &[(&str, i128)]) -> Result<Vec<String>, String> {
    let short: Vec<Shortage> = needs.iter().map(|(name, amount)| short(name, *amount)).collect();
    let found = victims(pods, &short.iter().collect::<Vec<_>>());
    found
        .map(|victims| victims.iter().map(ToString::to_string).collect())
        .map_err(|unmet| unmet.to_string())
}

#[test]
fn cheapest_pods_that_suffice_are_chosen() {
    let best = pod("best-effort", (0, 0), false, 0);
    let small = pod("small", (100, 10), false, 0);
    let large = pod("large", (1000, 100), false, 0);
    let dear = pod("dear", (1000, 100), false, 50);
    let guaranteed = pod("guaranteed", (500, 500), true, 0);
    let all = [best, small, large, dear, guaranteed];
    type Case = (&'static [(&'static str, i128)], &'static [&'static str]);
    let cases: [Case; 9] = [
        (&[("pods", 1)], &["best-effort"]),
        (&[("pods", 2)], &["best-effort", "small"]),
        (&[("cpu", 50)], &["small"]),
        (&[("cpu", 100)], &["small"]),
        // One is better than two.
        (&[("cpu", 1000)], &["large"]),
        // The lower priority goes first.
        (&[("cpu", 1050)], &["small", "large"]),
        (&[("cpu", 1200)], &["large", "dear"]),
        // Guaranteed pods only for what the others do not have.
        (&[("memory", 300)], &["guaranteed"]),
        (&[("cpu", 900), ("memory", 100)], &["large"]),
    ];
    for (needs, expected) in cases {
        let mut found = names(&all, needs).unwrap();
        found.sort();
        let mut expected: Vec<&str> = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{needs:?}");
    }
}

#[test]
fn what_nobody_can_free_is_named() {
    let critical = pod("critical", (4000, 0), false, 2_000_000_000);
    let pods = [pod("a", (100, 10), false, 0), critical];
    assert_eq!(names(&pods, &[("cpu", 500), ("memory", 10)]), Err("[(res: cpu, q: 400), ]".into()));
    assert_eq!(names(&[], &[("pods", 1)]), Err("[(res: pods, q: 1), ]".into()));
}

prop_compose! {
    fn any_pod()(
        requests in (0..2000_u32, 0..2000_u32),
        guaranteed in any::<bool>(),
        priority in prop_oneof![Just(0), Just(10), Just(2_000_000_000)],
    ) -> ((u32, u32), bool, i32) {
        (requests, guaranteed, priority)
    }
}

proptest! {
    #[test]
    fn victims_suffice_and_none_is_superfluous_or_critical(
        given in prop::collection::vec(any_pod(), 0..9),
        cpu in 1..5000_i128,
        memory in prop_oneof![Just(0), 1..5000_i128],
    ) {
        let make = |(at, (requests, guaranteed, priority)): (usize, &((u32, u32), bool, i32))| {
            pod(&format!("p{at}"), *requests, *guaranteed, *priority)
        };
        let pods: Vec<Pod> = given.iter().enumerate().map(make).collect();
        let mut needs = vec![short("cpu", cpu)];
        if memory > 0 {
            needs.push(short("memory", memory));
        }
        let suffices = |pods: &[&Pod]| needs.iter().all(|need| {
            pods.iter().map(|pod| request(pod, &need.resource)).sum::<i128>() >= need.missing()
        });
        let spendable: Vec<&Pod> = pods.iter().filter(|pod| !pod.is_critical()).collect();
        match victims(&pods, &needs.iter().collect::<Vec<_>>()) {
            Err(_) => prop_assert!(!suffices(&spendable)),
            Ok(victims) => {
                let chosen: Vec<&Pod> =
                    pods.iter().filter(|pod| victims.contains(pod.uid())).collect();
                prop_assert_eq!(chosen.len(), victims.len());
                prop_assert!(chosen.iter().all(|pod| !pod.is_critical()));
                prop_assert!(suffices(&chosen));
                for spared in &chosen {
                    let rest: Vec<&Pod> =
                        chosen.iter().copied().filter(|pod| pod.uid() != spared.uid()).collect();
                    prop_assert!(!suffices(&rest));
                }
            }
        }
    }
}
