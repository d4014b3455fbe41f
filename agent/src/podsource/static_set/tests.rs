use super::*;

fn manifest(name: &str, image: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, \
         spec: {{containers: [{{name: main, image: '{image}'}}]}}}}"
    )
}

fn file(key: &str, text: impl Into<String>) -> Candidate {
    Candidate { key: key.to_owned(), content: Ok(text.into().into_bytes()) }
}

fn set() -> StaticSet {
    StaticSet::new("node", None)
}

fn update(set: &mut StaticSet, read: impl IntoIterator<Item = Candidate>) -> Vec<Remark> {
    set.update(read.into_iter().collect(), Timestamp::UNIX_EPOCH)
}

fn images(set: &StaticSet) -> Vec<String> {
    let pods = set.pods();
    pods.iter().map(|pod| pod.spec().containers[0].image.clone().unwrap()).collect()
}

#[test]
fn pods_come_change_and_go_with_their_files() {
    let mut set = set();
    assert!(update(&mut set, [file("a", manifest("a", "i:1"))]).is_empty());
    let first = set.pods();
    update(&mut set, [file("a", manifest("a", "i:2")), file("b", manifest("b", "i:3"))]);
    assert_eq!(images(&set), ["i:2", "i:3"]);
    assert_ne!(set.pods()[0].uid(), first[0].uid());
    update(&mut set, [file("b", manifest("b", "i:3"))]);
    assert_eq!(images(&set), ["i:3"]);
    update(&mut set, []);
    assert!(set.pods().is_empty());
}

#[test]
fn comments_make_no_other_pod() {
    let mut set = set();
    update(&mut set, [file("a", manifest("a", "i:1"))]);
    let first = set.pods();
    let read = vec![file("a", format!("# note\n{}", manifest("a", "i:1")))];
    set.update(read, "2026-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(set.pods(), first);
}

#[test]
fn bad_manifest_keeps_its_last_good_pod_and_leaves_others_alone() {
    let mut set = set();
    let good = || file("b", manifest("b", "i:3"));
    update(&mut set, [file("a", manifest("a", "i:1")), good()]);
    let bad = || file("a", "kind: Pod");
    let remarks = update(&mut set, [bad(), good()]);
    assert!(
        matches!(&remarks[..], [Remark::Refused { key, kept: true, .. }] if key == "a"),
        "{remarks:?}"
    );
    assert_eq!(images(&set), ["i:1", "i:3"]);
    assert!(update(&mut set, [bad(), good()]).is_empty(), "told twice");
    let remarks = update(&mut set, [file("a", manifest("a", "i:2")), good()]);
    assert_eq!(remarks, [Remark::Mended { key: "a".to_owned() }]);
    assert_eq!(images(&set), ["i:2", "i:3"]);
}

#[test]
fn bad_manifest_that_goes_takes_its_pod_along() {
    let mut set = set();
    update(&mut set, [file("a", manifest("a", "i:1"))]);
    update(&mut set, [file("a", "")]);
    assert_eq!(images(&set), ["i:1"]);
    update(&mut set, []);
    assert!(set.pods().is_empty());
}

#[test]
fn file_that_cannot_be_read_for_a_while_changes_nothing() {
    let mut set = set();
    let good = || file("a", manifest("a", "i:1"));
    let unread = || Candidate { key: "a".to_owned(), content: Err("denied".to_owned()) };
    update(&mut set, [good()]);
    let pods = set.pods();
    assert_eq!(update(&mut set, [unread()]).len(), 1);
    assert!(update(&mut set, [unread()]).is_empty());
    assert_eq!(set.pods(), pods);
    assert_eq!(update(&mut set, [good()]), [Remark::Mended { key: "a".to_owned() }]);
    assert_eq!(set.pods(), pods);
}

#[test]
fn second_file_with_a_taken_name_is_refused_until_the_first_goes() {
    let mut set = set();
    let (first, second) =
        (|| file("a.yaml", manifest("a", "i:1")), || file("a.yaml~", manifest("a", "i:2")));
    let remarks = update(&mut set, [first(), second()]);
    let problem = "pod default/a-node is in a.yaml already".to_owned();
    let refused = Remark::Refused { key: "a.yaml~".to_owned(), problem, kept: false };
    assert_eq!(remarks, [refused]);
    assert!(update(&mut set, [first(), second()]).is_empty());
    assert_eq!(images(&set), ["i:1"]);
    update(&mut set, [second()]);
    assert_eq!(images(&set), ["i:2"]);
}

#[test]
fn what_counts_for_nothing_is_told_once() {
    let mut set = set();
    let text = manifest("a", "i:1").replace("spec: {", "spec: {hostNet: true, ");
    let remarks = update(&mut set, [file("a", text.clone())]);
    let what = "unknown field spec.hostNet".to_owned();
    assert_eq!(remarks, [Remark::Ignored { key: "a".to_owned(), what }]);
    assert!(update(&mut set, [file("a", text)]).is_empty());
}
