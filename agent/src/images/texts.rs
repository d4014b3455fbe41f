//! Pure. What is published about pulls, in the kubelet's words (v1.36 `image_manager.go`).

use std::time::Duration;

use jiff::{Timestamp, Unit};

use crate::boundary::{ImageError, RuntimeError};
use crate::reason;

#[cfg(test)]
mod tests;

/// All failures of one attempt as one text, each cause once.
pub(super) fn failure_text(errors: &[ImageError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in errors.iter().map(error_text) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// Reason and message of the waiting container.
pub(super) fn published_failure(image: &str, errors: &[ImageError]) -> (&'static str, String) {
    let text = failure_text(errors);
    let named = |what: &str, word: &str| {
        let rest = text.strip_prefix(word).unwrap_or(&text);
        format!("image pull failed for {image} because {what}{rest}")
    };
    match errors {
        [ImageError::RegistryUnavailable(_)] => {
            let message = named("the registry is unavailable", "RegistryUnavailable");
            (reason::REGISTRY_UNAVAILABLE, message)
        }
        [ImageError::SignatureInvalid(_)] => {
            let message = named("the signature validation failed", "SignatureValidationFailed");
            (reason::SIGNATURE_VALIDATION_FAILED, message)
        }
        _ => (reason::ERR_IMAGE_PULL, text),
    }
}

/// A runtime's answer as a Go program prints it, which is what users know and search for.
fn error_text(error: &ImageError) -> String {
    let rpc = |code: &str, message: &str| format!("rpc error: code = {code} desc = {message}");
    match error {
        ImageError::Runtime(RuntimeError::Refused { code, message }) if code == "Unknown" => {
            message.clone()
        }
        ImageError::Runtime(RuntimeError::Refused { code, message }) => rpc(code, message),
        ImageError::Runtime(RuntimeError::NotFound(message)) => rpc("NotFound", message),
        ImageError::Runtime(RuntimeError::Unavailable(message)) => rpc("Unavailable", message),
        ImageError::Runtime(RuntimeError::DeadlineExceeded(message)) => {
            rpc("DeadlineExceeded", message)
        }
        other => other.to_string(),
    }
}

/// The message of a container that waits for the next try: the last failure, and when that is.
pub(super) fn wait_text(image: &str, cause: (&str, &str), retry_at: Timestamp) -> String {
    let (reason, message) = cause;
    let at = retry_at.round(Unit::Second).unwrap_or(retry_at);
    format!("Back-off pulling image \"{image}\": {reason}: {message} (next try at {at})")
}

/// A duration as Go prints one cut to milliseconds: `0s`, `17ms`, `1.5s`, `1m2.003s`, `1h0m5s`.
pub(super) fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let seconds = format!("{}.{:03}", millis / 1000 % 60, millis % 1000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}
