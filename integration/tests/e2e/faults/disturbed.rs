//! Somebody goes away while pods are at every step of their lives, and comes back.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use integration::TestContext;
use integration::cri_proxy::{Hold, Moment};
use integration::runner::Test;
use integration::wait;

use super::fixture::{Fixture, LIMIT};
use super::{DOWN, UP};

pub fn tests() -> Vec<Test> {
    integration::tests![
        agent_killed_at_each_step_starts_nothing_twice_and_leaves_nothing,
        runtime_killed_at_each_step_starts_nothing_twice_and_leaves_nothing;
        alone: server_away_at_each_step_starts_nothing_twice_and_leaves_nothing,
    ]
}

/// Long enough for a call that is held, short enough for a test.
const TIMEOUT: &str = "60s";

/// Who goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    Agent,
    Runtime,
    Server,
}

async fn agent_killed_at_each_step_starts_nothing_twice_and_leaves_nothing(
    context: Arc<TestContext>,
) -> Result<()> {
    live_without(&context, Absent::Agent).await
}

async fn runtime_killed_at_each_step_starts_nothing_twice_and_leaves_nothing(
    context: Arc<TestContext>,
) -> Result<()> {
    live_without(&context, Absent::Runtime).await
}

async fn server_away_at_each_step_starts_nothing_twice_and_leaves_nothing(
    context: Arc<TestContext>,
) -> Result<()> {
    live_without(&context, Absent::Server).await
}

/// A pod at each step up, held before the call and, where the call or its answer is lost, also
/// after it; later the same pods at each step down.
async fn live_without(context: &TestContext, absent: Absent) -> Result<()> {
    let fixture = Fixture::new(context, TIMEOUT).await?;
    let moments: &[(Moment, &str)] = match absent {
        Absent::Server => &[(Moment::Before, "before")],
        Absent::Agent | Absent::Runtime => &[(Moment::Before, "before"), (Moment::After, "after")],
    };
    let mut names = Vec::new();
    let mut up = Vec::new();
    let mut down = Vec::new();
    for (index, method) in UP.into_iter().enumerate() {
        for (moment, word) in moments {
            let name = format!("{}-{word}", method.to_lowercase());
            up.push((method, name.clone(), *moment));
            down.push((DOWN[index % DOWN.len()], name.clone(), *moment));
            names.push(name);
        }
    }
    let holds = hold(&fixture, &up)?;
    let uids = fixture.create(&names).await?;
    go_away(&fixture, absent, holds).await.context("on the way up")?;
    if absent == Absent::Server {
        // What was begun goes on by itself.
        let starts = || async { Ok(fixture.starts("startcontainer-before")) };
        wait::until_value("start meanwhile", LIMIT, starts, |starts| *starts == 1).await?;
    }
    come_back(&fixture, absent).await?;
    fixture.wait_up(&names).await?;

    let holds = hold(&fixture, &down)?;
    fixture.delete(&names).await?;
    go_away(&fixture, absent, holds).await.context("on the way down")?;
    come_back(&fixture, absent).await?;
    fixture.wait_down(&names, &uids).await
}

fn hold(fixture: &Fixture, steps: &[(&'static str, String, Moment)]) -> Result<Vec<Hold>> {
    let proxy = fixture.proxy()?;
    let hold = |(method, name, moment): &(&'static str, String, Moment)| {
        proxy.hold(fixture.target(method, name), *moment)
    };
    Ok(steps.iter().map(hold).collect())
}

/// Waits until every pod is at its step. Calls of those who go away, and to them, are lost.
async fn go_away(fixture: &Fixture, absent: Absent, holds: Vec<Hold>) -> Result<()> {
    try_join_all(holds.iter().map(|hold| hold.reached(LIMIT))).await?;
    match absent {
        Absent::Agent => fixture.node.agent()?.kill9().await?,
        Absent::Runtime => fixture.node.runtime().kill().await?,
        Absent::Server => fixture.cluster.stop_api_server().await?,
    }
    match absent {
        Absent::Server => holds.into_iter().for_each(Hold::release),
        Absent::Agent | Absent::Runtime => holds.into_iter().for_each(Hold::discard),
    }
    Ok(())
}

async fn come_back(fixture: &Fixture, absent: Absent) -> Result<()> {
    match absent {
        Absent::Agent => fixture.node.agent()?.start(),
        Absent::Runtime => fixture.node.runtime().start_again().await,
        Absent::Server => fixture.cluster.start_api_server().await,
    }
}
