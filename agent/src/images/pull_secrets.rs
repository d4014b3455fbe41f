//! Gathers the credentials of a pod's pull secrets.

use futures::future::join_all;

use super::credentials::Keyring;
use crate::model::Pod;
use crate::objects::ObjectsHandle;
use crate::telemetry::Causes;

/// What the pull secrets of a pod hold, and the names of those that could not be had or hold no
/// credentials.
pub(super) async fn pull_secrets<'a>(
    objects: &ObjectsHandle,
    pod: &'a Pod,
) -> (Keyring, Vec<&'a str>) {
    let listed = pod.spec().image_pull_secrets.iter().flatten();
    let names = listed.map(|secret| secret.name.as_str()).filter(|name| !name.is_empty());
    let names: Vec<&str> = names.collect();
    let fetched = join_all(names.iter().map(|name| objects.secret(pod.namespace(), name))).await;
    let mut keyring = Keyring::default();
    let mut missing = Vec::new();
    for (name, fetched) in names.into_iter().zip(fetched) {
        let added = match fetched {
            Ok(secret) => {
                keyring.add_secret(secret.object()).map_err(|error| Causes(&error).to_string())
            }
            Err(error) => Err(Causes(&error).to_string()),
        };
        if let Err(cause) = added {
            tracing::debug!(pod = %pod.full_name(), secret = name, cause, "pull secret left out");
            missing.push(name);
        }
    }
    (keyring, missing)
}
