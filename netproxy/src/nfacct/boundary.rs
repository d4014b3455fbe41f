//! What we need from the counters of the kernel.

use std::io;

use async_trait::async_trait;

/// What was counted since the object was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Named counter objects of the kernel.
#[async_trait]
pub trait AccountingCounters: Send + Sync {
    /// Makes the object of that name, if it is not there.
    async fn ensure(&self, name: &str) -> io::Result<()>;

    /// What the object of that name counted; fails with `NotFound` when there is none.
    async fn count(&self, name: &str) -> io::Result<Count>;
}
