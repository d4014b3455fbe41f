//! Pure. How far a pull is, in words, and how often that is told.

use std::fmt;
use std::time::Duration;

use crate::boundary::{Ingest, Layer};

#[cfg(test)]
mod tests;

/// Pulls that take less are not told about.
pub(super) const FIRST_REPORT: Duration = Duration::from_secs(5);
/// Pause between two reports; each is a write of the pod's status.
pub(super) const REPORT_PAUSE: Duration = Duration::from_secs(10);
/// First event of a pull, and the shortest pause between two. The server's users see events for an
/// hour, and noded itself drops events of a pod that has more than 25 at once.
const EVENT_PAUSE: Duration = Duration::from_secs(30);
/// Progress that is worth another event, in hundredths.
const EVENT_STEP: u64 = 20;

/// How far a pull is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullProgress {
    /// Other pulls come first.
    Queued,
    /// With the runtime, which does not tell more.
    Running,
    /// `total_bytes` is `None` while the image's size is not known.
    Downloading { done_bytes: u64, total_bytes: Option<u64> },
    /// All is here and is being laid out on the disk.
    Unpacking { total_bytes: u64 },
}

impl PullProgress {
    /// Hundredths of the download that are here, 0 while that is not known.
    pub fn percent(&self) -> u64 {
        match self {
            Self::Downloading { done_bytes, total_bytes: Some(total) } if *total > 0 => {
                (u128::from(*done_bytes) * 100 / u128::from(*total)).min(100) as u64
            }
            Self::Unpacking { .. } => 100,
            _ => 0,
        }
    }
}

impl fmt::Display for PullProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queued => f.write_str("waiting for other image pulls"),
            Self::Running => f.write_str("in progress"),
            Self::Downloading { done_bytes, total_bytes: Some(total) } => write!(
                f,
                "downloading, {}% ({} of {})",
                self.percent(),
                Bytes(*done_bytes),
                Bytes(*total)
            ),
            Self::Downloading { done_bytes, total_bytes: None } => {
                write!(f, "downloading ({} so far)", Bytes(*done_bytes))
            }
            Self::Unpacking { total_bytes } => {
                write!(f, "unpacking ({} downloaded)", Bytes(*total_bytes))
            }
        }
    }
}

/// Bytes for people: `17 B`, `1.5 MiB`.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = "B";
        let mut tenths = u128::from(self.0) * 10;
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if tenths < 10_240 {
                break;
            }
            tenths /= 1024;
            unit = larger;
        }
        match unit {
            "B" => write!(f, "{} B", self.0),
            _ => write!(f, "{}.{} {unit}", tenths / 10, tenths % 10),
        }
    }
}

/// The text that is shown while an image is being pulled.
pub fn progress_message(image: &str, progress: PullProgress) -> String {
    format!("Pulling image \"{image}\": {progress}")
}

/// What a look at the content store says of one image. `whole` tells of a layer without ingest
/// whether it is here.
pub fn of_layers(layers: &[Layer], ingests: &[Ingest], whole: &[bool]) -> PullProgress {
    let total_bytes = layers.iter().map(|layer| layer.size_bytes).sum();
    let mut done_bytes = 0;
    let mut complete = true;
    for (layer, whole) in layers.iter().zip(whole) {
        match ingests.iter().find(|ingest| ingest.name.ends_with(&layer.digest)) {
            Some(ingest) => {
                complete = false;
                done_bytes += ingest.done_bytes.min(layer.size_bytes);
            }
            None if *whole => done_bytes += layer.size_bytes,
            None => complete = false,
        }
    }
    if complete {
        PullProgress::Unpacking { total_bytes }
    } else {
        PullProgress::Downloading { done_bytes, total_bytes: Some(total_bytes) }
    }
}

/// What the downloads under way say when they all belong to one image whose layers are not known.
pub fn of_ingests(ingests: &[Ingest]) -> PullProgress {
    if ingests.is_empty() {
        return PullProgress::Running;
    }
    let done_bytes = ingests.iter().map(|ingest| ingest.done_bytes).sum();
    PullProgress::Downloading { done_bytes, total_bytes: None }
}

/// The first of the layer lists that one of the downloads belongs to.
pub fn layers_in_work(manifests: Vec<Vec<Layer>>, ingests: &[Ingest]) -> Option<Vec<Layer>> {
    let in_work = |layer: &Layer| ingests.iter().any(|i| i.name.ends_with(&layer.digest));
    manifests.into_iter().find(|layers| layers.iter().any(in_work))
}

/// Which reports of one pull become events: the first after half a minute, then each that is 20 %
/// further or in another stage, never two within half a minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventPace {
    last: Option<(Duration, PullProgress)>,
}

impl EventPace {
    /// Whether this report, `elapsed` after the pull was asked for, is worth an event.
    pub fn take(&mut self, elapsed: Duration, progress: PullProgress) -> bool {
        let due = match self.last {
            None => elapsed >= EVENT_PAUSE,
            Some((at, last)) => {
                let further = progress.percent() >= last.percent() + EVENT_STEP;
                let other = std::mem::discriminant(&progress) != std::mem::discriminant(&last);
                elapsed >= at + EVENT_PAUSE && (further || other)
            }
        };
        if due {
            self.last = Some((elapsed, progress));
        }
        due
    }
}
