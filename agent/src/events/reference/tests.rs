use super::*;

#[test]
fn field_path_names_the_list_and_the_container() {
    let table = [
        (ContainerKind::Regular, "spec.containers{web}"),
        (ContainerKind::Init, "spec.initContainers{web}"),
        (ContainerKind::Ephemeral, "spec.ephemeralContainers{web}"),
    ];
    for (kind, expected) in table {
        assert_eq!(container_field_path(kind, "web"), expected);
    }
}

#[test]
fn uid_of_a_node_is_its_name() {
    let node = node_reference("node-1");
    assert_eq!(node.uid, node.name);
    assert_eq!(node.namespace, None);
}
