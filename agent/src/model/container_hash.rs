//! Pure. The hash that decides whether a container's definition changed.

use k8s_openapi::api::core::v1 as api;

#[cfg(test)]
mod tests;

/// Lower-case hex of a 32-bit FNV-1a over the container's name and image, and nothing else: a new
/// field in the API must not restart every container of the cluster on upgrade.
///
/// The text that is hashed is the kubelet's (v1.36 `HashContainer`), so that noded can take over
/// the containers of a kubelet without restarting them: a Go dump of the bytes of the JSON object
/// `{"image":..,"name":..}`.
pub fn container_hash(container: &api::Container) -> String {
    name_and_image_hash(&container.name, container.image.as_deref().unwrap_or_default())
}

/// Lower-case hex hash of what a container is made from as far as it may decide over its success:
/// image and resources. A container that crashed with others begins its waits anew.
pub fn back_off_key(container: &api::Container) -> String {
    let resources = &container.resources;
    let image = container.image.as_deref().unwrap_or_default();
    let json = serde_json::json!({ "image": image, "resources": resources });
    format!("{:x}", fnv1a(&json.to_string()))
}

fn name_and_image_hash(name: &str, image: &str) -> String {
    let json = serde_json::json!({ "image": image, "name": name }).to_string();
    let bytes: Vec<String> = json.bytes().map(|byte| byte.to_string()).collect();
    format!("{:x}", fnv1a(&format!("([]uint8)[{}]", bytes.join(" "))))
}

fn fnv1a(text: &str) -> u32 {
    // Offset and prime of the 32-bit FNV-1a.
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
