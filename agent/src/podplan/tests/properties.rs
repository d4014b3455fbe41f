//! What holds for any pod, whatever befalls it.

use proptest::collection::vec;
use proptest::prelude::*;

use super::world::{Blow, World};
use crate::testing::build::{PodBuilder, pod};
use k8s_openapi::api::core::v1 as api;

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a feature that is there or not")]
struct Shape {
    sidecar: bool,
    probed: bool,
    pre_stop: bool,
    post_start: bool,
    own_policy: Option<&'static str>,
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let policy = prop::option::weighted(0.2, prop::sample::select(vec!["OnFailure", "Never"]));
    let rarely = || prop::bool::weighted(0.3);
    (any::<bool>(), rarely(), rarely(), rarely(), policy).prop_map(
        |(sidecar, probed, pre_stop, post_start, own_policy)| Shape {
            sidecar,
            probed,
            pre_stop,
            post_start,
            own_policy,
        },
    )
}

fn shaped(builder: PodBuilder, name: &str, shape: &Shape, is_init: bool) -> PodBuilder {
    let serves = !is_init || shape.sidecar;
    let mut builder = builder.changed(name, |spec| {
        spec.restart_policy = shape.own_policy.map(ToOwned::to_owned);
        if is_init && shape.sidecar {
            spec.restart_policy = Some("Always".to_owned());
        }
        if shape.probed && serves {
            spec.startup_probe = Some(api::Probe::default());
        }
    });
    if shape.pre_stop && serves {
        builder = builder.pre_stop(name);
    }
    if shape.post_start && serves {
        builder = builder.post_start(name);
    }
    builder
}

/// What a pod is made from.
#[derive(Clone, Debug)]
struct Layout {
    init: Vec<Shape>,
    regular: Vec<Shape>,
    ephemeral: usize,
    policy: &'static str,
    grace: i64,
}

prop_compose! {
    fn any_layout()(
        init in vec(any_shape(), 0..4),
        regular in vec(any_shape(), 1..3),
        ephemeral in 0usize..2,
        policy in prop::sample::select(vec!["Always", "OnFailure", "Never"]),
        grace in 0i64..40,
    ) -> Layout {
        Layout { init, regular, ephemeral, policy, grace }
    }
}

fn built(layout: &Layout) -> PodBuilder {
    let mut builder = pod("ns/web").restart(layout.policy).grace(layout.grace);
    for (index, shape) in layout.init.iter().enumerate() {
        let name = format!("i{index}");
        builder = shaped(builder.init(&name), &name, shape, true);
    }
    for (index, shape) in layout.regular.iter().enumerate() {
        let name = format!("c{index}");
        builder = shaped(builder.container(&name), &name, shape, false);
    }
    for index in 0..layout.ephemeral {
        builder = builder.ephemeral(&format!("e{index}"), Some("c0"));
    }
    builder
}

fn any_blow() -> impl Strategy<Value = Blow> {
    let pick = 0usize..6;
    prop_oneof![
        6 => (pick.clone(), prop::sample::select(vec![0, 1, 42]))
            .prop_map(|(pick, code)| Blow::Exit(pick, code)),
        1 => pick.clone().prop_map(Blow::LoseSight),
        3 => (pick.clone(), prop::bool::weighted(0.8))
            .prop_map(|(pick, good)| Blow::StartupProbe(pick, good)),
        1 => pick.clone().prop_map(Blow::LivenessFails),
        3 => Just(Blow::HooksEnd),
        1 => Just(Blow::PostStartFails),
        1 => pick.clone().prop_map(Blow::NewImage),
        1 => pick.prop_map(Blow::Stubborn),
        1 => Just(Blow::KillSandbox),
        1 => Just(Blow::ForgetDead),
        1 => Just(Blow::Wipe),
        1 => Just(Blow::KillAgent),
        1 => Just(Blow::KillAgentInStart),
        1 => (1u8..3).prop_map(Blow::FailStarts),
        1 => (0u64..40).prop_map(Blow::Delete),
        4 => (1i64..700).prop_map(Blow::Pass),
    ]
}

/// Containers that crash in a loop settle after some rounds; nothing takes longer.
const MOST_TURNS: usize = 120;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The checks stand in [`World`]: no start beside a namesake, none in a pod that ends, no
    /// grace that grows, no hook run twice, sidecars that outlive what they serve, init containers
    /// in order and once in each sandbox, a terminal phase that stays.
    #[test]
    fn whatever_befalls_a_pod_every_plan_is_sound_and_it_comes_to_rest(
        layout in any_layout(),
        blows in vec((0usize..4, any_blow()), 0..24),
        deleted in prop::option::weighted(0.3, 0u64..40),
    ) {
        let mut world = World::new(built(&layout));
        for (turns, blow) in blows {
            for _ in 0..turns {
                world.turn();
            }
            world.strike(blow);
        }
        if let Some(grace) = deleted {
            world.strike(Blow::Delete(grace));
        }
        world.converge(MOST_TURNS);
    }
}
