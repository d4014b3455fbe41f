//! Pure. Hard eviction thresholds: what the node keeps free, and when it is under pressure.
//!
//! Source: kubelet v1.36 `pkg/kubelet/eviction/helpers.go`.

use std::collections::BTreeMap;

use crate::boundary::MachineCapacity;
use crate::model::quantity::Quantity;

/// What a threshold watches. Only what the machine itself can tell; the signals of a separate
/// image file system are read and have no observation here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    MemoryAvailable,
    NodeFsAvailable,
    NodeFsInodesFree,
    PidAvailable,
    ImageFsAvailable,
    ImageFsInodesFree,
}

const SIGNALS: [(&str, Signal); 6] = [
    ("memory.available", Signal::MemoryAvailable),
    ("nodefs.available", Signal::NodeFsAvailable),
    ("nodefs.inodesFree", Signal::NodeFsInodesFree),
    ("pid.available", Signal::PidAvailable),
    ("imagefs.available", Signal::ImageFsAvailable),
    ("imagefs.inodesFree", Signal::ImageFsInodesFree),
];

/// What must stay free.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    Amount(Quantity),
    /// Of the signal's capacity, more than 0 and less than 100.
    Percent(f64),
}

impl Threshold {
    /// The amount for a capacity; a percentage is cut to whole units.
    pub fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Amount(amount) => u64::try_from(amount.value()).unwrap_or(0),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "upstream computes it in floating point too, and the result is below capacity"
            )]
            Self::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    #[error("evictionHard names the unknown signal {0:?}")]
    Signal(String),
    #[error("evictionHard {signal}: {text:?} is neither a quantity nor a percentage")]
    Amount { signal: String, text: String },
}

/// The thresholds in force, by signal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds(BTreeMap<Signal, Threshold>);

impl Thresholds {
    /// Reads `evictionHard`. `0%` and `100%` switch a signal off.
    pub fn parse(texts: &BTreeMap<String, String>) -> Result<Self, ThresholdError> {
        let mut thresholds = BTreeMap::new();
        for (name, text) in texts {
            let signal = SIGNALS.iter().find(|(known, _)| known == name);
            let (_, signal) = signal.ok_or_else(|| ThresholdError::Signal(name.clone()))?;
            let wrong = || ThresholdError::Amount { signal: name.clone(), text: text.clone() };
            let threshold = match text.strip_suffix('%') {
                Some("0" | "100") => continue,
                Some(percent) => {
                    let percent: f64 = percent.parse().map_err(|_| wrong())?;
                    if !(percent > 0.0 && percent < 100.0) {
                        return Err(wrong());
                    }
                    Threshold::Percent(percent)
                }
                None => {
                    let amount = Quantity::parse(text).map_err(|_| wrong())?;
                    if amount < Quantity::ZERO {
                        return Err(wrong());
                    }
                    Threshold::Amount(amount)
                }
            };
            thresholds.insert(*signal, threshold);
        }
        Ok(Self(thresholds))
    }

    /// `None` when the signal is off.
    pub fn get(&self, signal: Signal) -> Option<Threshold> {
        self.0.get(&signal).copied()
    }

    /// What of `capacity` must stay free; 0 when the signal is off.
    pub fn kept_free(&self, signal: Signal, capacity: u64) -> u64 {
        self.get(signal).map_or(0, |threshold| threshold.of(capacity))
    }

    /// True when less than the threshold is free. A signal without an observation is never met:
    /// unknown is not under pressure.
    pub fn is_met(&self, signal: Signal, machine: &MachineCapacity) -> bool {
        let observed = match signal {
            Signal::MemoryAvailable => (machine.memory_available_bytes, machine.memory_bytes),
            Signal::NodeFsAvailable => (machine.root_fs_available_bytes, machine.root_fs_bytes),
            Signal::NodeFsInodesFree => (machine.root_fs_inodes_free, machine.root_fs_inodes),
            Signal::PidAvailable => {
                (machine.pid_max.saturating_sub(machine.processes), machine.pid_max)
            }
            Signal::ImageFsAvailable | Signal::ImageFsInodesFree => return false,
        };
        let (available, capacity) = observed;
        // A file system that makes inodes as it goes shows none at all.
        capacity > 0 && available < self.kept_free(signal, capacity)
    }
}

#[cfg(test)]
mod tests;
