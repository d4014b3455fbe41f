//! One call fails, once.

use std::sync::Arc;

use anyhow::{Result, ensure};
use integration::TestContext;
use integration::cri_proxy::{Fault, Moment, Target};
use integration::pods;
use integration::runner::Test;
use tonic::Code;

use super::fixture::{Fixture, LIMIT};
use super::{DOWN, UP};

pub fn tests() -> Vec<Test> {
    // Beside others, honest calls would exceed the short timeout again and again.
    integration::tests![
        pod_whose_pull_hangs_can_be_deleted,
        agent_starts_though_its_first_calls_fail;
        alone: pods_come_and_go_though_each_call_is_refused_once,
        pods_come_and_go_though_each_answer_is_lost_once,
        pods_come_and_go_though_each_call_hangs_once,
    ]
}

/// Longest answer the agent waits for. Honest calls may exceed it on a busy machine, which is one
/// more fault of the same kind.
const SHORT_TIMEOUT: &str = "3s";

async fn pods_come_and_go_though_each_call_is_refused_once(
    context: Arc<TestContext>,
) -> Result<()> {
    come_and_go(&context, Fault::Refuse(Code::Unknown), &UP).await
}

async fn pods_come_and_go_though_each_answer_is_lost_once(context: Arc<TestContext>) -> Result<()> {
    come_and_go(&context, Fault::Cut, &UP).await
}

async fn pods_come_and_go_though_each_call_hangs_once(context: Arc<TestContext>) -> Result<()> {
    // A pull may take as long as it needs.
    let up: Vec<&str> = UP.into_iter().filter(|method| *method != "PullImage").collect();
    come_and_go(&context, Fault::Hang, &up).await
}

/// One pod for each call of `up`, which meets the fault; on its way down the calls that end a pod
/// take turns.
async fn come_and_go(context: &TestContext, fault: Fault, up: &[&'static str]) -> Result<()> {
    let fixture = Fixture::new(context, SHORT_TIMEOUT).await?;
    let proxy = fixture.proxy()?;
    let names: Vec<String> = up.iter().map(|method| method.to_lowercase()).collect();
    for (name, method) in names.iter().zip(up) {
        proxy.inject(fixture.target(method, name), fault, 1);
    }
    let uids = fixture.create(&names).await?;
    fixture.wait_up(&names).await?;
    let unused = proxy.take_unused();
    ensure!(unused.is_empty(), "did not happen on the way up: {unused:?}");

    for (name, method) in names.iter().zip(DOWN.iter().cycle()) {
        proxy.inject(fixture.target(method, name), fault, 1);
    }
    fixture.delete(&names).await?;
    fixture.wait_down(&names, &uids).await?;
    let unused = proxy.take_unused();
    ensure!(unused.is_empty(), "did not happen on the way down: {unused:?}");
    Ok(())
}

async fn pod_whose_pull_hangs_can_be_deleted(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context, SHORT_TIMEOUT).await?;
    let names = ["stuck".to_owned()];
    let hold = fixture.proxy()?.hold(fixture.target("PullImage", "stuck"), Moment::Before);
    let uids = fixture.create(&names).await?;
    hold.reached(LIMIT).await?;
    fixture.delete(&names).await?;
    pods::wait_gone(&fixture.cluster, &fixture.path("stuck"), LIMIT).await?;
    ensure!(fixture.starts("stuck") == 0, "was started");
    super::traces::wait_none(&fixture.node, &uids, LIMIT).await?;
    hold.discard();
    Ok(())
}

/// What an agent asks the runtime before it knows any pod.
const FIRST: [&str; 7] = [
    "Version",
    "Status",
    "RuntimeConfig",
    "ListPodSandbox",
    "ListContainers",
    "ListImages",
    "Subscribe",
];

async fn agent_starts_though_its_first_calls_fail(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context, SHORT_TIMEOUT).await?;
    let proxy = fixture.proxy()?;
    let steady = ["steady".to_owned()];
    let uids = fixture.create(&steady).await?;
    fixture.wait_up(&steady).await?;
    let agent = fixture.node.agent()?;
    // Another code than this for the first call means that there is no CRI, which ends an agent.
    let away = Fault::Refuse(Code::Unavailable);
    for (round, fault) in [away, Fault::Cut, Fault::Hang].into_iter().enumerate() {
        agent.stop().await?;
        for method in FIRST {
            proxy.inject(Target::any(method), fault, 1);
        }
        agent.start()?;
        let new = [format!("new-{round}")];
        fixture.create(&new).await?;
        agent.expect_running()?;
        pods::wait_ready(&fixture.cluster, &fixture.path(&new[0]), LIMIT).await?;
        fixture.node.wait_ready(LIMIT).await?;
        let unused = proxy.take_unused();
        ensure!(!unused.iter().any(|what| what.starts_with("List")), "did not happen: {unused:?}");
        fixture.delete(&new).await?;
        pods::wait_gone(&fixture.cluster, &fixture.path(&new[0]), LIMIT).await?;
    }
    fixture.wait_up(&steady).await?;
    fixture.delete(&steady).await?;
    fixture.wait_down(&steady, &uids).await
}
