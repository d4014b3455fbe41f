use futures::FutureExt;

use super::*;

fn is_revoked(pass: &Pass) -> bool {
    pass.revoked().now_or_never().is_some()
}

#[test]
fn the_oldest_stranger_gives_way_to_the_newest() {
    let strangers = Strangers::new(2);
    let passes: Vec<_> = (0..3).map(|_| strangers.admit()).collect();
    assert_eq!(passes.iter().map(is_revoked).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn who_is_known_or_gone_takes_no_room() {
    let strangers = Strangers::new(2);
    let known = strangers.admit();
    known.know();
    let gone = strangers.admit();
    drop(gone);
    let others = [strangers.admit(), strangers.admit()];
    assert!(!is_revoked(&known) && others.iter().all(|pass| !is_revoked(pass)));
}
