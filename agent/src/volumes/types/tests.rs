use super::*;
use crate::objects::ObjectKind;
use crate::volumes::claims::ClaimProblem;

fn failure(volume: &str, cause: SetUpCause) -> SetUpFailure {
    SetUpFailure { volume: volume.to_owned(), cause }
}

fn unbound(claim: &str) -> SetUpCause {
    let claim = ClaimName { namespace: "ns".to_owned(), name: claim.to_owned() };
    ClaimError::Processing(claim, ClaimProblem::NotBound).into()
}

#[test]
fn claims_without_a_volume_are_told_together_and_the_rest_one_by_one() {
    let missing = ObjectError::NotFound {
        kind: ObjectKind::ConfigMap,
        namespace: "ns".to_owned(),
        name: "settings".to_owned(),
    };
    let claim = ClaimName { namespace: "ns".to_owned(), name: "c".to_owned() };
    let in_use = SetUpCause::from(BoundError::InUse).of_claim("pv", &claim);
    let error = VolumeError::SetUp(vec![
        failure("two", unbound("b")),
        failure("files", missing.into()),
        failure("disk", in_use),
        failure("one", unbound("a")),
    ]);
    assert_eq!(
        error.event_messages(),
        [
            "Unable to attach or mount volumes: unmounted volumes=[disk files one two], unattached \
             volumes=[], failed to process volumes=[one two]: error processing PVC ns/b: PVC is \
             not bound; error processing PVC ns/a: PVC is not bound",
            "MountVolume.SetUp failed for volume \"files\" : configmap \"settings\" not found",
            "MountVolume.SetUp failed for volume \"pv\" : volume uses the ReadWriteOncePod access \
             mode and is already in use by another pod (volume \"disk\", claim ns/c)",
        ]
    );
}

#[test]
fn what_names_its_claim_is_not_given_another_name() {
    let claim = ClaimName { namespace: "ns".to_owned(), name: "c".to_owned() };
    let cause = unbound("c").of_claim("pv", &claim);
    assert!(matches!(cause, SetUpCause::Claim(_)));
    let once = SetUpCause::BadName.of_claim("pv", &claim);
    let SetUpCause::OfClaim { volume, .. } = once.of_claim("other", &claim) else {
        panic!("the name is lost")
    };
    assert_eq!(volume, "pv");
}
