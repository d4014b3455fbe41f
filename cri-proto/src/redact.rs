//! Pure. How the messages that hold secrets are printed: with their names, without their values.
//!
//! Requests are logged whole when a call fails, and registry credentials and environment
//! variables (often taken from Secrets) are part of them.

use std::fmt;

use crate::runtime::v1::{AuthConfig, KeyValue};

const HIDDEN: &str = "***";

/// Shows whom the credentials are for; which kind of credential there is stays hidden too.
impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .field("credentials", &HIDDEN)
            .finish()
    }
}

/// Shows the name of the variable.
impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue").field("key", &self.key).field("value", &HIDDEN).finish()
    }
}

#[cfg(test)]
mod tests;
