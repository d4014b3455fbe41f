use super::*;

#[test]
fn hash_is_the_one_the_kubelet_writes() {
    // Computed with the kubelet's own dump and hash functions, v1.36.
    assert_eq!(name_and_image_hash("app", "nginx"), "807ef53b");
}

#[test]
fn hash_depends_on_name_and_image_only() {
    let mut container = api::Container {
        name: "app".to_owned(),
        image: Some("one".to_owned()),
        ..api::Container::default()
    };
    let first = container_hash(&container);
    container.command = Some(vec!["other".to_owned()]);
    assert_eq!(container_hash(&container), first);
    container.image = Some("two".to_owned());
    assert_ne!(container_hash(&container), first);
}
