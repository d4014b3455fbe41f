//! Pure. gRPC status to our errors.

use tonic::{Code, Status};

use crate::boundary::{ImageError, RuntimeError};

/// The error of a call named `what`.
pub(super) fn runtime_error(what: &str, status: &Status) -> RuntimeError {
    let message = status.message().to_owned();
    match status.code() {
        Code::NotFound => RuntimeError::NotFound(message),
        Code::Unimplemented => RuntimeError::Unimplemented(what.to_owned()),
        Code::DeadlineExceeded => RuntimeError::DeadlineExceeded(format!("{what}: {message}")),
        Code::Unavailable => RuntimeError::Unavailable(message),
        // A connection that breaks midway surfaces as these, without a code from the runtime.
        Code::Cancelled => RuntimeError::Unavailable(message),
        Code::Unknown if message.contains("transport error") || message.contains("h2 protocol") => {
            RuntimeError::Unavailable(message)
        }
        code => RuntimeError::Refused { code: format!("{code:?}"), message },
    }
}

/// The error of an image call. The two words are how CRI marks them (cri-api `errors.go`, v1.36).
pub(super) fn image_error(error: RuntimeError) -> ImageError {
    match error {
        RuntimeError::Refused { message, .. } if message.starts_with("RegistryUnavailable") => {
            ImageError::RegistryUnavailable(message)
        }
        RuntimeError::Refused { message, .. }
            if message.starts_with("SignatureValidationFailed") =>
        {
            ImageError::SignatureInvalid(message)
        }
        other => ImageError::Runtime(other),
    }
}
