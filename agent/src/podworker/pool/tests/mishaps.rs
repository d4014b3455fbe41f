//! What holds whatever befalls the node.

use proptest::prelude::*;

use super::*;

/// Something that befalls the node.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Exit(&'static str, i32),
    LoseSight(&'static str),
    KillSandboxes,
    ForgetDead,
    RestartAgent,
    RuntimeAway(bool),
    WatchBroken(bool),
    FailCall(&'static str),
    FailSupply(&'static str),
    Delete(i64),
    Pass(u8),
}

const REGULAR: [&str; 2] = ["app", "side"];

/// The containers of a pod: regular ones, and before them an init container and sidecars.
fn layout(shape: usize, policy: &str) -> PodBuilder {
    let pod = pod("ns/web").restart(policy);
    let pod = match shape {
        0 => pod,
        1 => pod.init("prep"),
        2 => pod.sidecar("mesh"),
        _ => pod.sidecar("mesh").init("prep").sidecar("logs"),
    };
    REGULAR.iter().fold(pod, |pod, name| pod.container(name))
}

fn shape_has(shape: usize, name: &str) -> bool {
    layout(shape, "Always").build().container(name).is_some()
}

fn any_blow() -> impl Strategy<Value = Blow> {
    let name = || prop::sample::select(vec!["app", "side", "prep", "mesh", "logs"]);
    let calls = vec![
        "run_sandbox",
        "sandbox_status",
        "create_container",
        "start_container",
        "stop_container",
        "stop_sandbox",
        "remove_container",
        "remove_sandbox",
        "list_containers",
    ];
    let supplies =
        vec!["volumes", "image", "sandbox", "container", "release_volumes", "remove_cgroup"];
    prop_oneof![
        4 => (name(), prop::sample::select(vec![0, 1, 137]))
            .prop_map(|(name, code)| Blow::Exit(name, code)),
        1 => name().prop_map(Blow::LoseSight),
        1 => Just(Blow::KillSandboxes),
        1 => Just(Blow::ForgetDead),
        2 => Just(Blow::RestartAgent),
        1 => any::<bool>().prop_map(Blow::RuntimeAway),
        1 => any::<bool>().prop_map(Blow::WatchBroken),
        2 => prop::sample::select(calls).prop_map(Blow::FailCall),
        2 => prop::sample::select(supplies).prop_map(Blow::FailSupply),
        1 => (0i64..20).prop_map(Blow::Delete),
        5 => (0u8..20).prop_map(Blow::Pass),
    ]
}

impl Ground {
    fn is_running(&self, name: &str) -> bool {
        self.runtime.running().iter().any(|running| running == name)
    }

    fn exit(&self, name: &str, code: i32) {
        if self.is_running(name) {
            self.runtime.exit(name, code);
        }
    }

    async fn suffer(&mut self, blow: Blow) {
        match blow {
            Blow::Exit(name, code) => self.exit(name, code),
            Blow::LoseSight(name) if self.is_running(name) => self.runtime.lose_sight_of(name),
            Blow::LoseSight(_) => {}
            Blow::KillSandboxes => self.runtime.kill_sandboxes(),
            Blow::ForgetDead => self.runtime.forget_dead(),
            Blow::RestartAgent => {
                self.kill_agent().await;
                self.start_agent();
            }
            Blow::RuntimeAway(away) => self.runtime.set_away(away),
            Blow::WatchBroken(true) => self.api.break_watches(),
            Blow::WatchBroken(false) => self.api.mend_watches(),
            Blow::FailCall(method) => self.runtime.fail_next(method, refused()),
            Blow::FailSupply(method) => self.supplies.fail_next(method, "no"),
            Blow::Delete(grace) => self.delete("web", grace),
            Blow::Pass(seconds) => self.pass(f64::from(seconds)).await,
        }
    }

    /// What must hold at any time: no container runs beside its namesake, no regular one beside an
    /// init container that is to end before, and a terminal phase
    /// is shown only of a pod of which nothing runs, and for good.
    fn check(&self, terminal: &mut Option<String>) {
        let mut running = self.runtime.running();
        running.sort();
        let count = running.len();
        running.dedup();
        assert_eq!(running.len(), count, "namesakes run side by side");
        let regular = REGULAR.iter().any(|name| self.is_running(name));
        assert!(!regular || !self.is_running("prep"), "{running:?}");
        if !self.exists("web") {
            return;
        }
        let phase = self.phase("web");
        if let Some(terminal) = terminal {
            assert_eq!(*terminal, phase);
        } else if matches!(phase.as_str(), "Succeeded" | "Failed") {
            assert_eq!(count, 0, "phase {phase} while containers run");
            *terminal = Some(phase);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_befalls_the_node_the_pod_ends_well(
        policy in prop::sample::select(vec!["Always", "OnFailure", "Never"]),
        shape in 0usize..4,
        blows in prop::collection::vec(any_blow(), 1..25),
    ) {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        tokio.block_on(async {
            let mut ground = Ground::new();
            let mut terminal = None;
            ground.put(layout(shape, policy));
            for blow in blows {
                ground.suffer(blow).await;
                ground.pass(0.05).await;
                ground.check(&mut terminal);
            }
            ground.runtime.set_away(false);
            ground.api.mend_watches();
            for _ in 0..70 {
                ground.exit("prep", 0);
                ground.pass(10.0).await;
                ground.check(&mut terminal);
            }
            if ground.exists("web") && ground.phase("web") == "Running" {
                assert!(!ground.runtime.running().is_empty());
            }
            if ground.exists("web") && terminal.is_none() {
                let started = ["mesh", "logs"].iter().filter(|name| shape_has(shape, name));
                assert!(started.clone().all(|name| ground.is_running(name)), "{:?}", ground.runtime.calls());
            }
            ground.delete("web", 30);
            for _ in 0..100 {
                ground.pass(2.0).await;
                ground.check(&mut terminal);
            }
            assert!(!ground.exists("web"), "{:?}", ground.status("web"));
            assert!(ground.is_clear(), "{:?}", ground.runtime.calls());
        });
    }
}
