//! New connections, one after another, for as long as a test changes something.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ask::{ANSWER, Failure, ask_tcp_from};
use super::network::Netns;
use super::topology::{Network, Place};

/// Time between two connections of a client; leaves the processor to what is tested.
const PACE: Duration = Duration::from_millis(2);

/// Running clients.
pub struct Load {
    totals: watch::Receiver<Totals>,
    clients: Vec<JoinHandle<()>>,
}

/// What became of the connections so far.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Those that were answered, for each client.
    pub answered: Vec<usize>,
    /// How the others failed.
    pub failed: Vec<(SocketAddr, Failure)>,
}

impl Network {
    /// Starts a client for each target.
    pub fn load(&self, from: Place, targets: &[SocketAddr]) -> Load {
        self.impatient_load(from, targets, ANSWER)
    }

    /// The same with clients that try again when they got no answer for so long.
    pub fn impatient_load(&self, from: Place, targets: &[SocketAddr], patience: Duration) -> Load {
        let none = Totals { answered: vec![0; targets.len()], failed: Vec::new() };
        let (publish, totals) = watch::channel(none);
        let publish = Arc::new(publish);
        let clients = targets.iter().enumerate().map(|(number, target)| {
            let client = Client { number, target: *target, patience };
            let space = self.space(from).again();
            self.outside().spawn(client.run(space, publish.clone()))
        });
        Load { totals, clients: clients.collect() }
    }
}

/// One of the clients.
struct Client {
    number: usize,
    target: SocketAddr,
    patience: Duration,
}

impl Client {
    async fn run(self, space: Netns, publish: Arc<watch::Sender<Totals>>) {
        let mut pace = tokio::time::interval(PACE);
        loop {
            pace.tick().await;
            let answer = ask_tcp_from(&space, self.target, self.patience).await;
            publish.send_modify(|totals| match answer {
                Ok(_) => totals.answered[self.number] += 1,
                Err(failure) => totals.failed.push((self.target, failure)),
            });
        }
    }
}

impl Load {
    /// Waits until each client got two answers more. The second of these connections began after
    /// this call, and all that began before it are over.
    pub async fn goes_on(&mut self) {
        let before = self.totals.borrow().answered.clone();
        let waited = self.totals.wait_for(|totals| {
            totals.answered.iter().zip(&before).all(|(now, before)| *now >= before + 2)
        });
        let in_time = tokio::time::timeout(ANSWER, waited).await.is_ok();
        assert!(in_time, "connections are not answered: {:?}", self.totals.borrow());
    }

    /// What became of the connections so far.
    pub fn so_far(&self) -> Totals {
        self.totals.borrow().clone()
    }

    /// Ends the clients and fails if any connection did.
    pub fn ends_without_failure(self) {
        let totals = self.so_far();
        assert!(totals.failed.is_empty(), "{totals:?}");
        assert!(totals.answered.iter().all(|answered| *answered > 0));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.clients.iter().for_each(JoinHandle::abort);
    }
}
