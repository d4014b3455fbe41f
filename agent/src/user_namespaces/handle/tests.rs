use std::fs;

use serde_json::json;

use super::*;
use crate::model::HandlerFeatures;
use crate::podexec::fixtures;
use crate::user_namespaces::SubordinateIds;

const BLOCK: u32 = 65_536;

/// Four blocks from 131072 on.
async fn load(root: &Path) -> UserNamespaces {
    let granted = SubordinateIds { first: 2 * BLOCK, length: 4 * BLOCK };
    UserNamespaces::load(root, HostIds::plan(BLOCK, Some(granted), 4).unwrap()).await.unwrap()
}

fn pod(uid: &str, host_users: Option<bool>) -> Pod {
    fixtures::pod(json!({"metadata": {"uid": uid}, "spec": {"hostUsers": host_users}}))
}

fn able() -> RuntimeFeatures {
    let can = HandlerFeatures { user_namespaces: true, ..HandlerFeatures::default() };
    let handlers = [("", can), ("other", can), ("old", HandlerFeatures::default())]
        .map(|(name, can)| (name.to_owned(), can));
    RuntimeFeatures { handlers: handlers.into(), supplemental_groups_policy: None }
}

async fn first_id(namespaces: &UserNamespaces, uid: &str) -> Result<u32, String> {
    match namespaces.ensure(&pod(uid, Some(false)), "", Some(&able())).await {
        Ok(block) => Ok(block.unwrap().first),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn pods_of_the_nodes_users_get_nothing() {
    let root = tempfile::tempdir().unwrap();
    let namespaces = load(root.path()).await;
    for host_users in [None, Some(true)] {
        let got = namespaces.ensure(&pod("a", host_users), "", None).await.unwrap();
        assert_eq!(got, None);
    }
    assert!(!root.path().join("pods").exists());
}

#[tokio::test]
async fn block_is_kept_over_restarts_and_given_back() {
    let root = tempfile::tempdir().unwrap();
    let namespaces = load(root.path()).await;
    let (a, b) = (first_id(&namespaces, "a").await, first_id(&namespaces, "b").await);
    assert_eq!((&a, &b), (&Ok(2 * BLOCK), &Ok(3 * BLOCK)));
    let file = root.path().join("pods/a/userns");
    assert!(fs::read_to_string(&file).unwrap().contains(r#""hostId":131072"#));

    let again = load(root.path()).await;
    assert_eq!(first_id(&again, "c").await, Ok(4 * BLOCK));
    assert_eq!(first_id(&again, "b").await, b);
    again.release(&"a".into()).await;
    again.release(&"nobody".into()).await;
    assert!(!file.exists());
    assert_eq!(first_id(&again, "d").await, Ok(5 * BLOCK));
    assert_eq!(first_id(&again, "e").await, a);
    let full = "create user namespace: could not find an empty slot to allocate a user namespace";
    assert_eq!(first_id(&again, "f").await, Err(full.to_owned()));
}

#[tokio::test]
async fn unreadable_file_stops_new_pods_until_it_is_gone_or_mended() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(first_id(&load(root.path()).await, "a").await, Ok(2 * BLOCK));
    let file = |uid: &str| root.path().join("pods").join(uid).join("userns");
    let good = fs::read_to_string(file("a")).unwrap();
    fs::create_dir(root.path().join("pods/b")).unwrap();
    for text in ["{", good.as_str()] {
        fs::write(file("b"), text).unwrap();
        let namespaces = load(root.path()).await;
        let own = first_id(&namespaces, "b").await.unwrap_err();
        assert!(own.starts_with("user namespace: "), "{own}");
        let new = first_id(&namespaces, "c").await.unwrap_err();
        assert!(new.contains("not known which ids pod b has"), "{new}");
        // The other pod is not concerned.
        assert_eq!(first_id(&namespaces, "a").await, Ok(2 * BLOCK));
        fs::write(file("b"), good.replace("131072", "262144")).unwrap();
        assert_eq!(first_id(&namespaces, "b").await, Ok(4 * BLOCK));
        assert_eq!(first_id(&namespaces, "c").await, Ok(5 * BLOCK));
        namespaces.release(&"c".into()).await;
    }
    fs::write(file("b"), "{").unwrap();
    let namespaces = load(root.path()).await;
    namespaces.release(&"b".into()).await;
    assert_eq!(first_id(&namespaces, "c").await, Ok(3 * BLOCK));
}

#[tokio::test]
async fn empty_file_of_a_lost_machine_is_written_anew() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("pods/a")).unwrap();
    fs::write(root.path().join("pods/a/userns"), "").unwrap();
    assert_eq!(first_id(&load(root.path()).await, "a").await, Ok(2 * BLOCK));
}

#[tokio::test]
async fn handler_must_be_able() {
    let root = tempfile::tempdir().unwrap();
    let namespaces = load(root.path()).await;
    let runtime = "can't set `spec.hostUsers: false`, runtime does not support user namespaces";
    let handler = |name: &str| {
        format!(
            "can't set `spec.hostUsers: false`, RuntimeClass handler \"{name}\" does not support \
             user namespaces"
        )
    };
    for (name, features, expected) in [
        ("", None, Some(runtime.to_owned())),
        ("", Some(RuntimeFeatures::default()), Some(runtime.to_owned())),
        ("other", Some(RuntimeFeatures::default()), Some(handler("other"))),
        ("old", Some(able()), Some(handler("old"))),
        (
            "none",
            Some(able()),
            Some(format!("{}: the handler \"none\" is not known", handler("none"))),
        ),
        ("other", Some(able()), None),
    ] {
        let asked = namespaces.ensure(&pod("a", Some(false)), name, features.as_ref()).await;
        assert_eq!(asked.err().map(|error| error.to_string()), expected, "{name:?}");
    }
}
