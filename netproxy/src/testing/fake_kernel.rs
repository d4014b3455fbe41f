//! Connection tracking, addresses and settings in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::IpFamily;
use crate::conntrack::{Conntrack, ConntrackError, Entry, Flow};
use crate::input::Protocol;
use crate::machine::{AddressWatch, Machine};

/// Connection tracking in memory.
pub struct FakeConntrack {
    state: Mutex<Flows>,
    dumping: Arc<Semaphore>,
    started: watch::Sender<usize>,
}

#[derive(Default)]
struct Flows {
    flows: BTreeSet<Flow>,
    errors: VecDeque<ConntrackError>,
}

impl FakeConntrack {
    /// Without entries.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            dumping: Arc::new(Semaphore::new(1)),
            started: watch::Sender::new(0),
        })
    }

    /// Adds an entry.
    pub fn add(&self, flow: Flow) {
        self.lock().flows.insert(flow);
    }

    /// The entries left, in order.
    pub fn flows(&self) -> Vec<Flow> {
        self.lock().flows.iter().copied().collect()
    }

    /// How often the entries were dumped.
    pub fn dumps(&self) -> usize {
        *self.started.borrow()
    }

    /// Fails the next dump.
    pub fn fail_next_dump(&self) {
        let source = io::Error::from(io::ErrorKind::Interrupted);
        self.lock().errors.push_back(ConntrackError::Refused { action: "dump", source });
    }

    /// Keeps dumps waiting as long as the answer lives.
    pub fn hold_dumps(&self) -> OwnedSemaphorePermit {
        self.dumping.clone().try_acquire_owned().expect("no dump is running")
    }

    /// Waits until a dump began that is kept waiting.
    pub async fn dump_waits(&self) {
        let _ = self.started.subscribe().wait_for(|started| *started > 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, Flows> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Conntrack for FakeConntrack {
    async fn visit(
        &self,
        family: IpFamily,
        protocol: Protocol,
        visit: &mut (dyn FnMut(Entry) + Send),
    ) -> Result<(), ConntrackError> {
        self.started.send_modify(|started| *started += 1);
        let _turn = self.dumping.acquire().await.expect("is never closed");
        let flows = {
            let mut state = self.lock();
            if let Some(error) = state.errors.pop_front() {
                return Err(error);
            }
            state.flows.clone()
        };
        // All entries of the fake are UDP.
        let wanted = |flow: &Flow| protocol == Protocol::Udp && family.has(flow.destination.ip());
        for flow in flows.into_iter().filter(wanted) {
            visit(Entry { flow, zone: 0, id: None });
        }
        Ok(())
    }

    async fn delete(&self, entries: &[Entry]) -> Result<usize, ConntrackError> {
        let mut state = self.lock();
        Ok(entries.iter().filter(|entry| state.flows.remove(&entry.flow)).count())
    }
}

/// A machine in memory.
#[derive(Default)]
pub struct FakeMachine {
    state: Mutex<MachineState>,
    addresses_changed: watch::Sender<()>,
}

#[derive(Default)]
struct MachineState {
    addresses: Vec<IpAddr>,
    settings: BTreeMap<String, String>,
    writes: Vec<(String, String)>,
    cpus: Option<usize>,
    read_only: bool,
}

impl FakeMachine {
    /// A machine with these addresses.
    pub fn new(addresses: &[&str]) -> Arc<Self> {
        let machine = Self::default();
        machine.set_addresses(addresses);
        Arc::new(machine)
    }

    /// Changes the addresses and tells everybody who watches them.
    pub fn set_addresses(&self, addresses: &[&str]) {
        let parse = |text: &&str| text.parse().unwrap_or_else(|_| panic!("{text} is no address"));
        self.lock().addresses = addresses.iter().map(parse).collect();
        self.addresses_changed.send_replace(());
    }

    /// Changes the number of CPUs; it is 1 until then.
    pub fn set_cpus(&self, cpus: usize) {
        self.lock().cpus = Some(cpus);
    }

    /// Makes writes of settings fail from now on.
    pub fn make_read_only(&self) {
        self.lock().read_only = true;
    }

    /// The value of a setting or module parameter, if it was ever set.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.lock().settings.get(name).cloned()
    }

    /// Sets a setting or module parameter.
    pub fn set_setting(&self, name: &str, value: &str) {
        self.lock().settings.insert(name.to_owned(), value.to_owned());
    }

    /// What was written since the last call, in that order.
    pub fn take_writes(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.lock().writes)
    }

    fn lock(&self) -> MutexGuard<'_, MachineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine for FakeMachine {
    fn local_addresses(&self) -> io::Result<Vec<IpAddr>> {
        Ok(self.lock().addresses.clone())
    }

    fn watch_addresses(&self) -> io::Result<Box<dyn AddressWatch>> {
        Ok(Box::new(FakeAddressWatch(self.addresses_changed.subscribe())))
    }

    fn read_setting(&self, name: &str) -> io::Result<String> {
        self.setting(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write_setting(&self, name: &str, value: &str) -> io::Result<()> {
        let mut state = self.lock();
        if state.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        state.writes.push((name.to_owned(), value.to_owned()));
        state.settings.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn read_parameter(&self, name: &str) -> io::Result<String> {
        self.read_setting(name)
    }

    fn write_parameter(&self, name: &str, value: &str) -> io::Result<()> {
        self.write_setting(name, value)
    }

    fn cpu_count(&self) -> usize {
        self.lock().cpus.unwrap_or(1)
    }
}

struct FakeAddressWatch(watch::Receiver<()>);

#[async_trait]
impl AddressWatch for FakeAddressWatch {
    async fn changed(&mut self) -> io::Result<()> {
        self.0.changed().await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
