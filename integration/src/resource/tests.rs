use super::collection;

#[test]
fn kinds_have_the_paths_of_the_api() {
    let table = [
        ("v1", "Pod", "/api/v1/namespaces/n/pods"),
        ("v1", "Node", "/api/v1/nodes"),
        ("v1", "Endpoints", "/api/v1/namespaces/n/endpoints"),
        (
            "discovery.k8s.io/v1",
            "EndpointSlice",
            "/apis/discovery.k8s.io/v1/namespaces/n/endpointslices",
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies",
        ),
        ("node.k8s.io/v1", "RuntimeClass", "/apis/node.k8s.io/v1/runtimeclasses"),
    ];
    for (version, kind, expected) in table {
        assert_eq!(collection(version, kind, "n"), expected, "{kind}");
    }
}
