//! The volumes of this node's pods.
//!
//! **What**: makes every volume a pod mounts present below `pods/<uid>/volumes` and the parts of
//! volumes below `volume-subpaths`, keeps projected content fresh, and removes all of it when the
//! pod is gone.
//! **Owns**: `pods/<uid>`, its mounts, its hosts file and its termination logs.
//! **Reads**: ConfigMaps and Secrets from the object cache, tokens, claims and PersistentVolumes
//! from the API server, desired pods: those that an earlier noded mounted are kept fresh from the
//! start, and changed labels reach their files at once.
//! **Writes**: directories, mounts and files below the root directory; host paths only where the
//! pod or a volume asks for `DirectoryOrCreate` or `FileOrCreate`; group and mode of the files in
//! local volumes, for `fsGroup`.
//! **Invariants**: nothing is deleted through a mount; a mount that is there is used, never laid
//! over; no part of a volume lies outside of it; work of one pod that hangs holds up no other pod;
//! content that did not change is not rewritten; a reader never sees half an update; no
//! link inside a volume is followed when noded writes there; what a kill left half done is finished
//! or cleared; a token is only ever written to a tmpfs.
//! **Source**: kubelet v1.36 `volumemanager`, `volume/emptydir`, `volume/hostpath`, `volume/local`,
//! `volume/projected`, `volume/util/atomic_writer.go`, `token`. The kubelet reconciles in a 100 ms
//! loop; noded mounts when the pod's worker asks.

mod atomic_writer;
mod claimed;
mod claims;
mod content;
mod downward_api;
mod empty_dir;
mod handle;
mod host_path;
mod huge_pages;
mod layout;
mod ledger;
mod local;
mod measured;
mod nested;
mod payload;
mod pod_tokens;
mod projected;
mod refresh_queue;
mod setup;
mod sub_path;
mod task;
mod tear_down;
mod threads;
mod token;
mod types;
mod wanted;

pub use claims::ClaimName;
pub use handle::{VolumesDeps, VolumesHandle};
pub use layout::PodLayout;
pub use ledger::{MountedClaim, MountedClaims, VolumeCounts};
pub use measured::{MeasuredVolume, VolumeMeasure, measured_volumes};
pub use sub_path::{BindError, BoundSubPaths, WantedSubPath};
pub use task::{VolumesTask, new};
pub use threads::VolumeThreads;
pub use types::{MountedVolume, MountedVolumes, SetUpCause, SetUpFailure, VolumeError};
