use super::*;
use crate::user_namespaces::host_ids::{SubordinateIds, UNIT};
use proptest::prelude::*;

/// `blocks` blocks from 131072 on.
fn allocations(blocks: u32) -> Allocations {
    let granted = SubordinateIds { first: 2 * UNIT, length: blocks * UNIT };
    Allocations::new(HostIds::plan(UNIT, Some(granted), 1).unwrap())
}

fn uid(number: u32) -> PodUid {
    PodUid::from(format!("pod-{number}"))
}

fn block(first: u32) -> IdBlock {
    IdBlock { first, length: UNIT }
}

#[test]
fn pods_get_one_block_each_and_keep_it() {
    let mut all = allocations(3);
    assert_eq!(all.allocate(&uid(1)), Ok(block(2 * UNIT)));
    assert_eq!(all.allocate(&uid(2)), Ok(block(3 * UNIT)));
    assert_eq!(all.allocate(&uid(1)), Ok(block(2 * UNIT)));
    // What was given back comes last.
    all.release(&uid(1));
    assert_eq!(all.of(&uid(1)), None);
    assert_eq!(all.allocate(&uid(3)), Ok(block(4 * UNIT)));
    assert_eq!(all.allocate(&uid(4)), Ok(block(2 * UNIT)));
    assert_eq!(all.allocate(&uid(5)), Err(AllocationError::Exhausted));
    all.release(&uid(5));
    all.release(&uid(2));
    assert_eq!(all.allocate(&uid(5)), Ok(block(3 * UNIT)));
}

#[test]
fn blocks_of_an_earlier_process_are_taken_in() {
    let mut all = allocations(4);
    assert_eq!(all.record(&uid(1), block(3 * UNIT)), Ok(()));
    assert_eq!(all.record(&uid(1), block(3 * UNIT)), Ok(()));
    assert_eq!(all.of(&uid(1)), Some(block(3 * UNIT)));
    for (pod, block, expected) in [
        (1, block(4 * UNIT), AllocationError::Taken(uid(1))),
        (2, block(3 * UNIT), AllocationError::Taken(uid(2))),
        (2, block(UNIT), AllocationError::OutOfRange(UNIT)),
        (2, block(6 * UNIT), AllocationError::OutOfRange(6 * UNIT)),
        (2, block(2 * UNIT + 1), AllocationError::OutOfRange(2 * UNIT + 1)),
        (2, IdBlock { first: 2 * UNIT, length: 2 * UNIT }, AllocationError::Length(2 * UNIT)),
    ] {
        assert_eq!(all.record(&uid(pod), block), Err(expected), "{pod} {block:?}");
    }
    assert_eq!(all.allocate(&uid(2)), Ok(block(4 * UNIT)));
}

proptest! {
    #[test]
    fn no_two_pods_share_an_id(steps in prop::collection::vec((any::<bool>(), 0_u32..12), 0..60)) {
        let mut all = allocations(8);
        let mut held: BTreeMap<u32, IdBlock> = BTreeMap::new();
        for (asks, pod) in steps {
            if !asks {
                all.release(&uid(pod));
                held.remove(&pod);
                continue;
            }
            match all.allocate(&uid(pod)) {
                Ok(block) => {
                    let before = held.insert(pod, block);
                    prop_assert!(before.is_none_or(|before| before == block));
                }
                Err(error) => {
                    prop_assert_eq!(error, AllocationError::Exhausted);
                    prop_assert_eq!(held.len(), 8);
                }
            }
            let firsts: BTreeSet<u32> = held.values().map(|block| block.first).collect();
            prop_assert_eq!(firsts.len(), held.len());
            prop_assert!(firsts.iter().all(|first| *first >= 2 * UNIT));
        }
    }
}
