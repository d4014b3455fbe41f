//! Removes everything the proxy ever wrote.

use super::boundary::{Nft, NftError};

/// Removes our table of one family, whoever wrote it; nothing else is touched. Returns whether
/// there was one.
pub async fn cleanup(nft: &dyn Nft) -> Result<bool, NftError> {
    nft.remove().await
}
