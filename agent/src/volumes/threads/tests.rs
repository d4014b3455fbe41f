use super::*;

/// Work that waits until the sender is dropped.
fn held() -> (std::sync::mpsc::Sender<()>, impl FnOnce() -> Result<(), VolumeError> + Send) {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    (sender, move || {
        let _ = receiver.recv();
        Ok(())
    })
}

fn threads() -> VolumeThreads {
    VolumeThreads::on(Handle::current())
}

#[tokio::test(start_paused = true)]
async fn result_of_the_work_is_handed_on() {
    let (threads, mut hanging) = (threads(), None);
    assert_eq!(threads.run("working", &mut hanging, || Ok(7)).await.unwrap(), 7);
    let failed = threads.run::<()>("working", &mut hanging, || Err(VolumeError::Cancelled)).await;
    assert!(matches!(failed, Err(VolumeError::Cancelled)));
    assert!(hanging.is_none());
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_is_told_and_nothing_else_begins() {
    let (threads, mut hanging) = (threads(), None);
    let (let_go, work) = held();
    let mut run = Box::pin(threads.run("working", &mut hanging, work));
    assert!(futures::poll!(&mut run).is_pending());
    tokio::time::advance(PATIENCE).await;
    let told = run.await.unwrap_err();
    assert_eq!(told.to_string(), "working takes too long and still goes on");
    let refused = threads.run("more", &mut hanging, || Ok(())).await.unwrap_err();
    assert_eq!(refused.to_string(), "working takes too long and still goes on");
    drop(let_go);
    // The clock stands still while the work goes on.
    tokio::time::sleep(COURTESY).await;
    threads.run("more", &mut hanging, || Ok(())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_nobody_waits_for_any_more_is_still_known() {
    let (threads, mut hanging) = (threads(), None);
    let (let_go, work) = held();
    {
        let mut run = Box::pin(threads.run("working", &mut hanging, work));
        assert!(futures::poll!(&mut run).is_pending());
    }
    assert!(threads.run("more", &mut hanging, || Ok(())).await.is_err());
    drop(let_go);
    tokio::time::sleep(COURTESY).await;
    threads.run("more", &mut hanging, || Ok(())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_that_hang_block_nobody() {
    let threads = threads();
    let mut hanging: Vec<_> = (0..2 * AT_ONCE + 1).map(|_| None).collect();
    let (let_go, work): (Vec<_>, Vec<_>) = hanging.iter().map(|_| held()).unzip();
    let mut runs: Vec<_> = hanging
        .iter_mut()
        .zip(work)
        .map(|(hanging, work)| Box::pin(threads.run("hanging", hanging, work)))
        .collect();
    for run in &mut runs {
        assert!(futures::poll!(run).is_pending());
    }
    let mut own = None;
    let mut other = Box::pin(threads.run("working", &mut own, || Ok(7)));
    assert!(futures::poll!(&mut other).is_pending());
    tokio::time::advance(COURTESY).await;
    assert_eq!(other.await.unwrap(), 7);
    drop(runs);
    drop(let_go);
}

#[test]
fn threads_apart_work_for_any_runtime() {
    let threads = VolumeThreads::apart().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(threads.run("working", &mut None, || Ok(7)));
    assert_eq!(found.unwrap(), 7);
}
