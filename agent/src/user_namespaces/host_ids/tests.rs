use super::*;

#[test]
fn granted_range_is_read_from_one_line() {
    let line = "0: kubelet 65536 2147483648\n";
    let range = SubordinateIds { first: 65_536, length: 1 << 31 };
    assert_eq!(SubordinateIds::parse(line, line), Ok(range));
    let other = "0: kubelet 131072 65536\n";
    assert_eq!(SubordinateIds::parse(line, other), Err(SubordinateIdsError::Differ));
    let two = format!("{line}1: kubelet 3000000000 65536\n");
    for bad in ["", "\n", two.as_str(), "0: kubelet 65536", "0: kubelet a b", "0: k 1 -1"] {
        let error = SubordinateIds::parse(bad, bad).unwrap_err();
        assert_eq!(error, SubordinateIdsError::Malformed(bad.to_owned()));
    }
}

#[test]
fn without_a_grant_all_ids_above_the_first_block_are_used() {
    let ids = HostIds::plan(UNIT, None, 110).unwrap();
    assert_eq!((ids.first_of(0), ids.blocks()), (65_536, 65_534));
    let last = ids.first_of(ids.blocks() - 1);
    assert!(last.checked_add(UNIT).is_some_and(|end| end < u32::MAX), "{last}");
    let wide = HostIds::plan(2 * UNIT, None, 110).unwrap();
    assert_eq!((wide.first_of(0), wide.first_of(1)), (131_072, 262_144));
}

#[test]
fn granted_range_must_fit_the_blocks_and_the_pods() {
    let plan = |per_pod, first, length| {
        let ids = HostIds::plan(per_pod, Some(SubordinateIds { first, length }), 10)?;
        Ok((ids.first_of(0), ids.blocks()))
    };
    let unit = UNIT;
    for (per_pod, first, length, expected) in [
        (unit, unit, 10 * unit, Ok((unit, 10))),
        (unit, 20 * unit, 12 * unit, Ok((20 * unit, 12))),
        (2 * unit, 4 * unit, 20 * unit, Ok((4 * unit, 10))),
        (unit, unit, 9 * unit, Err(HostIdsError::TooFew(10))),
        (unit, 0, 10 * unit, Err(HostIdsError::TooLow { first: 0, per_pod: unit })),
        (unit, 100_000, 10 * unit, Err(HostIdsError::Unaligned { first: 100_000, per_pod: unit })),
        (unit, unit, 700_000, Err(HostIdsError::Rest { length: 700_000, per_pod: unit })),
        (100_000, unit, 10 * unit, Err(HostIdsError::Length(100_000))),
        (0, unit, 10 * unit, Err(HostIdsError::Length(0))),
        // The range reaches beyond the highest id.
        (unit, u32::MAX - 12 * unit + 1, 40 * unit, Ok((u32::MAX - 12 * unit + 1, 11))),
    ] {
        assert_eq!(plan(per_pod, first, length), expected, "{per_pod} {first} {length}");
    }
}

#[test]
fn block_is_found_by_its_first_id() {
    let ids = HostIds::plan(UNIT, Some(SubordinateIds { first: 2 * UNIT, length: 4 * UNIT }), 1);
    let ids = ids.unwrap();
    for block in 0..ids.blocks() {
        assert_eq!(ids.block_at(ids.first_of(block)), Some(block));
    }
    for outside in [0, UNIT, 2 * UNIT + 1, 6 * UNIT, u32::MAX] {
        assert_eq!(ids.block_at(outside), None, "{outside}");
    }
}
