//! Clears what runs left whose every process was killed at once.

use std::time::{Duration, SystemTime};

use super::{PREFIX, owner, reaper};

/// A directory without an owner may just have been made; older ones belong to nobody.
const UNOWNED_AGE: Duration = Duration::from_secs(60);

/// Removes the directories and cgroups of all runs whose owner is gone.
pub fn sweep() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let is_old = || {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            modified.is_ok_and(|at| {
                SystemTime::now().duration_since(at).is_ok_and(|age| age > UNOWNED_AGE)
            })
        };
        if owner::is_alive(&path).map_or_else(is_old, |alive| !alive) {
            eprintln!("test run: clearing {}", path.display());
            reaper::clear(&path);
        }
    }
}
