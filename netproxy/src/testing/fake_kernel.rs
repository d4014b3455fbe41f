//! Connection tracking, addresses and settings in memory.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::config::IpFamily;
use crate::conntrack::{Conntrack, ConntrackError, Flow};
use crate::machine::Machine;

/// Connection tracking in memory.
#[derive(Default)]
pub struct FakeConntrack {
    state: Mutex<Flows>,
}

#[derive(Default)]
struct Flows {
    flows: Vec<Flow>,
    dumps: usize,
    errors: VecDeque<ConntrackError>,
}

impl FakeConntrack {
    /// Without entries.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds an entry.
    pub fn add(&self, flow: Flow) {
        self.lock().flows.push(flow);
    }

    /// The entries left.
    pub fn flows(&self) -> Vec<Flow> {
        self.lock().flows.clone()
    }

    /// How often the entries were dumped.
    pub fn dumps(&self) -> usize {
        self.lock().dumps
    }

    /// Fails the next dump.
    pub fn fail_next_dump(&self) {
        let source = io::Error::from(io::ErrorKind::Interrupted);
        self.lock().errors.push_back(ConntrackError::Refused { action: "dump", source });
    }

    fn lock(&self) -> MutexGuard<'_, Flows> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Conntrack for FakeConntrack {
    async fn list_udp(&self, family: IpFamily) -> Result<Vec<Flow>, ConntrackError> {
        let mut state = self.lock();
        state.dumps += 1;
        if let Some(error) = state.errors.pop_front() {
            return Err(error);
        }
        let flows = state.flows.iter().filter(|flow| family.has(flow.destination.ip()));
        Ok(flows.copied().collect())
    }

    async fn delete(&self, flows: &[Flow]) -> Result<(), ConntrackError> {
        self.lock().flows.retain(|flow| !flows.contains(flow));
        Ok(())
    }
}

/// A machine in memory.
#[derive(Default)]
pub struct FakeMachine {
    state: Mutex<MachineState>,
}

#[derive(Default)]
struct MachineState {
    addresses: Vec<IpAddr>,
    settings: BTreeMap<String, String>,
    read_only: bool,
}

impl FakeMachine {
    /// A machine with these addresses.
    pub fn new(addresses: &[&str]) -> Arc<Self> {
        let machine = Self::default();
        machine.set_addresses(addresses);
        Arc::new(machine)
    }

    /// Changes the addresses.
    pub fn set_addresses(&self, addresses: &[&str]) {
        let parse = |text: &&str| text.parse().unwrap_or_else(|_| panic!("{text} is no address"));
        self.lock().addresses = addresses.iter().map(parse).collect();
    }

    /// Makes writes of settings fail from now on.
    pub fn make_read_only(&self) {
        self.lock().read_only = true;
    }

    /// The value of a setting, if it was ever set.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.lock().settings.get(name).cloned()
    }

    /// Sets a setting.
    pub fn set_setting(&self, name: &str, value: &str) {
        self.lock().settings.insert(name.to_owned(), value.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, MachineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine for FakeMachine {
    fn local_addresses(&self) -> io::Result<Vec<IpAddr>> {
        Ok(self.lock().addresses.clone())
    }

    fn read_setting(&self, name: &str) -> io::Result<String> {
        self.setting(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write_setting(&self, name: &str, value: &str) -> io::Result<()> {
        if self.lock().read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.set_setting(name, value);
        Ok(())
    }
}
