use super::*;
use crate::podexec::fixtures::pod;
use serde_json::{Value, json};

fn wanted(owned: bool) -> ClaimVolume {
    ClaimVolume { claim: "c".to_owned(), read_only: false, owned }
}

/// A claim `ns/c` with UID `u-c` bound to `pv`, with `overlay` laid over its top-level fields.
fn claim(overlay: &Value) -> api::PersistentVolumeClaim {
    let mut object = json!({
        "metadata": {"name": "c", "namespace": "ns", "uid": "u-c"},
        "spec": {"volumeName": "pv"},
        "status": {"phase": "Bound"},
    });
    for (field, value) in overlay.as_object().unwrap() {
        for (key, inner) in value.as_object().unwrap() {
            object[field][key] = inner.clone();
        }
    }
    serde_json::from_value(object).unwrap()
}

/// The volume `pv`, bound to that claim.
fn volume(spec: &Value) -> api::PersistentVolume {
    let mut object = json!({"metadata": {"name": "pv"}, "spec": {
        "claimRef": {"namespace": "ns", "name": "c", "uid": "u-c"}, "volumeMode": "Filesystem",
    }});
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

#[test]
fn claim_leads_to_its_volume_or_says_why_not() {
    let owner = |uid: &str, controller: bool| {
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod",
            "name": "web-0", "uid": uid, "controller": controller}]}})
    };
    let deleted = "2026-01-01T00:00:00Z";
    let stranger = "PVC ns/c was not created for pod ns/web-0 (pod is not owner)";
    // changes of the claim; made for the pod?; the answer
    for (overlay, owned, expected) in [
        (json!({}), false, Ok("pv")),
        (
            json!({"status": {"phase": "Pending"}}),
            false,
            Err("error processing PVC ns/c: PVC is not bound"),
        ),
        (
            json!({"status": {"phase": null}}),
            false,
            Err("error processing PVC ns/c: PVC is not bound"),
        ),
        (
            json!({"status": {"phase": "Lost"}}),
            false,
            Err("error processing PVC ns/c: PVC is not bound"),
        ),
        (
            json!({"spec": {"volumeName": ""}}),
            false,
            Err("error processing PVC ns/c: PVC has empty pvc.Spec.VolumeName"),
        ),
        (
            json!({"metadata": {"deletionTimestamp": deleted}}),
            false,
            Err("error processing PVC ns/c: PVC is being deleted"),
        ),
        (
            json!({"metadata": {"deletionTimestamp": deleted, "finalizers": [PROTECTION]}}),
            false,
            Ok("pv"),
        ),
        (json!({}), true, Err(stranger)),
        (owner("uid-2", true), true, Err(stranger)),
        (owner("uid-1", false), true, Err(stranger)),
        (owner("uid-1", true), true, Ok("pv")),
    ] {
        let found = bound_volume_name(&pod(json!({})), &wanted(owned), &claim(&overlay));
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{overlay}");
    }
}

fn bound(spec: &Value) -> Result<BoundVolume, String> {
    let wanted = ClaimVolume { read_only: true, ..wanted(false) };
    bound_volume(&pod(json!({})), ("data", &wanted), &claim(&json!({})), &volume(spec))
        .map_err(|error| error.to_string())
}

#[test]
fn volume_is_taken_when_it_is_the_claims_and_of_a_kind_noded_mounts() {
    let name = ClaimName { namespace: "ns".to_owned(), name: "c".to_owned() };
    let expected = |source, exclusive| {
        Ok(BoundVolume {
            claim: name.clone(),
            name: "pv".to_owned(),
            source,
            read_only: true,
            exclusive,
        })
    };
    let local = |options| BoundSource::Local { path: "/d".to_owned(), options };
    let host = |check| BoundSource::HostPath { path: "/h".to_owned(), check };
    let of_kind = "error processing PVC ns/c: PV pv is neither a local nor a hostPath volume; \
                   others are not supported by this node";
    for (spec, answer) in [
        (json!({"local": {"path": "/d"}}), expected(local(vec![]), false)),
        (
            json!({"local": {"path": "/d"}, "accessModes": ["ReadWriteOncePod"],
                "mountOptions": ["noatime", "nosuid,defaults"]}),
            expected(local(vec![MountOption::NoAtime, MountOption::NoSuid]), true),
        ),
        (
            json!({"local": {"path": "/d"}, "accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]}),
            expected(local(vec![]), false),
        ),
        (json!({"hostPath": {"path": "/h"}}), expected(host(HostPathCheck::None), false)),
        (
            json!({"hostPath": {"path": "/h", "type": "DirectoryOrCreate"}}),
            expected(host(HostPathCheck::DirectoryOrCreate), false),
        ),
        (
            json!({"local": {"path": "/d"}, "mountOptions": ["discard"]}),
            Err("mount option discard is not supported for a local volume by this node".to_owned()),
        ),
        (
            json!({"hostPath": {"path": "/h"}, "mountOptions": ["ro"]}),
            Err("mount options are not supported for this volume type".to_owned()),
        ),
        (json!({"csi": {"driver": "d", "volumeHandle": "h"}}), Err(of_kind.to_owned())),
        (
            json!({"local": {"path": "/d"}, "volumeMode": "Block"}),
            Err("volume data has volumeMode Block, but is specified in volumeMounts".to_owned()),
        ),
        (
            json!({"local": {"path": "/d"}, "claimRef": null}),
            Err("error processing PVC ns/c: found PV object pv but it has a nil pv.Spec.ClaimRef \
                 indicating it is not yet bound to the claim"
                .to_owned()),
        ),
        (
            json!({"local": {"path": "/d"}, "claimRef": {"uid": "other"}}),
            Err(
                "error processing PVC ns/c: found PV object pv but its pv.Spec.ClaimRef.UID other \
                 does not point to claim.UID u-c"
                    .to_owned(),
            ),
        ),
    ] {
        assert_eq!(bound(&spec), answer, "{spec}");
    }
}

#[test]
fn volume_of_another_node_is_refused() {
    let term = |operator: &str| {
        volume(&json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
            [{"key": "zone", "operator": operator, "values": ["a"]}]}]}}}))
    };
    let node: api::Node =
        serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"zone": "a"}}}))
            .unwrap();
    let check = |volume: &api::PersistentVolume, node: Option<&api::Node>| {
        check_node(volume, node).map_err(|error| error.to_string())
    };
    assert_eq!(check(&term("In"), Some(&node)), Ok(()));
    assert_eq!(check(&term("NotIn"), Some(&node)), Err("no matching NodeSelectorTerms".to_owned()));
    assert!(check(&term("In"), None).is_err());
    assert_eq!(check(&volume(&json!({})), None), Ok(()));
    assert_eq!(BoundError::Affinity.step(), "MountVolume.NodeAffinity check failed");
}
