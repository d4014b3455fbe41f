use std::sync::Arc;

use proptest::prelude::*;

use super::{Aligned, align};
use crate::rules::ruleset::{Rule, Target};

fn rules(names: &[u8]) -> Vec<Arc<Rule>> {
    let rule = |name: &u8| Rule {
        target: Some(Target::Jump(format!("KUBE-SVC-{name}").into())),
        ..Rule::default()
    };
    names.iter().map(rule).map(Arc::new).collect()
}

fn without<'a>(aligned: &[Aligned<'a>], drop: impl Fn(&Aligned<'a>) -> bool) -> Vec<Arc<Rule>> {
    let rest = aligned.iter().filter(|step| !drop(step));
    rest.map(|step| match step {
        Aligned::Keep(rule) | Aligned::Delete(rule) | Aligned::Insert(rule) => Arc::clone(rule),
    })
    .collect()
}

fn edits(from: &[u8], to: &[u8]) -> usize {
    let (from, to) = (rules(from), rules(to));
    align(&from, &to).iter().filter(|step| !matches!(step, Aligned::Keep(_))).count()
}

#[test]
fn few_changes_are_few_edits() {
    for (from, to, expected) in [
        (&[1, 2, 3][..], &[1, 2, 3][..], 0),
        (&[1, 2, 3], &[1, 3], 1),
        (&[1, 3], &[1, 2, 3], 1),
        (&[1, 2, 3], &[1, 4, 3], 2),
        (&[1, 2, 3, 4], &[4, 1, 2, 3], 2),
        (&[], &[1, 2], 2),
        (&[5, 1, 6, 2, 7], &[1, 8, 2, 9], 5),
    ] {
        assert_eq!(edits(from, to), expected, "{from:?} to {to:?}");
    }
}

proptest! {
    #[test]
    fn both_versions_can_be_read_from_it(
        from in proptest::collection::vec(0..12_u8, 0..20),
        to in proptest::collection::vec(0..12_u8, 0..20),
    ) {
        let (from, to) = (rules(&from), rules(&to));
        let aligned = align(&from, &to);
        prop_assert_eq!(without(&aligned, |step| matches!(step, Aligned::Insert(_))), from.clone());
        prop_assert_eq!(without(&aligned, |step| matches!(step, Aligned::Delete(_))), to.clone());
    }
}
