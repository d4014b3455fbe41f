use super::*;
use crate::podexec::fixtures::pod;
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

fn asking(main: Value, init: Value, whole: Value) -> api::PodSpec {
    let requests = |list: &Value| json!({"requests": list});
    let mut spec = json!({
        "containers": [{"name": "main", "resources": requests(&main)}],
        "initContainers": [{"name": "init", "resources": requests(&init)}],
    });
    if !whole.is_null() {
        spec["resources"] = requests(&whole);
    }
    pod(json!({"spec": spec})).spec().clone()
}

#[test]
fn page_size_is_what_the_pod_asks_for() {
    let (two, big) = (json!({"hugepages-2Mi": "4Mi"}), json!({"hugepages-1Gi": "1Gi"}));
    let none = || json!({});
    let not_requested = |medium: &str| Err(HugePagesError::NotRequested(medium.to_owned()));
    // medium; requests of the container, the init container, the pod; page size
    for (medium, main, init, whole, expected) in [
        ("HugePages", two.clone(), none(), none(), Ok(2 * MIB)),
        ("HugePages", none(), big.clone(), none(), Ok(1024 * MIB)),
        ("HugePages", none(), none(), two.clone(), Ok(2 * MIB)),
        ("HugePages", two.clone(), two.clone(), none(), Ok(2 * MIB)),
        (
            "HugePages",
            two.clone(),
            big.clone(),
            none(),
            Err(HugePagesError::SeveralSizes("HugePages".to_owned())),
        ),
        ("HugePages", none(), none(), none(), not_requested("HugePages")),
        ("HugePages", json!({"memory": "1Gi"}), none(), none(), not_requested("HugePages")),
        ("HugePages-2Mi", two.clone(), big.clone(), none(), Ok(2 * MIB)),
        ("HugePages-1Gi", two.clone(), big.clone(), none(), Ok(1024 * MIB)),
        ("HugePages-1Gi", two.clone(), none(), none(), not_requested("HugePages-1Gi")),
        (
            "HugePages-x",
            two,
            none(),
            none(),
            Err(HugePagesError::BadSize("HugePages-x".to_owned())),
        ),
    ] {
        let spec = asking(main, init, whole);
        assert_eq!(page_bytes(medium, &spec), expected, "{medium}: {spec:?}");
    }
    assert_eq!(
        HugePagesError::NotRequested("HugePages-2Mi".to_owned()).to_string(),
        "medium HugePages-2Mi: hugePages storage requested, but there is no resource request for \
         huge pages"
    );
}

#[test]
fn limits_become_whole_pages() {
    for (limit, pages) in [(1, 1), (2 * MIB, 1), (2 * MIB + 1, 2), (10 * MIB, 5)] {
        assert_eq!(whole_pages(limit, 2 * MIB), pages * 2 * MIB, "{limit}");
    }
}

#[test]
fn media_of_huge_pages_are_known() {
    assert!(is_huge_pages("HugePages") && is_huge_pages("HugePages-1Gi"));
    assert!(!is_huge_pages("HugePagesX") && !is_huge_pages("Memory") && !is_huge_pages(""));
}
