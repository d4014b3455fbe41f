use proptest::prelude::*;

use super::*;

fn changes() -> BTreeMap<(SetName, Key), ElementChange> {
    let front = Front { address: [10, 0, 0, 1].into(), protocol: Protocol::Tcp, port: 80 };
    let entry = |value| Entry { value, comment: Some("a/b".into()) };
    [
        ((SetName::ClusterIps, Key::Address([10, 0, 0, 1].into())), ElementChange::Removed),
        (
            (SetName::ServiceIps, Key::Front(front)),
            ElementChange::Added(entry(Value::Goto("lb-2".into()))),
        ),
        (
            (SetName::Endpoints(Protocol::Tcp), Key::Nth(front, 1)),
            ElementChange::Replaced(entry(Value::Target([10, 1, 0, 1].into(), 8080))),
        ),
    ]
    .into()
}

/// Type, flags, sequence number and payload of each message.
fn read(batch: &ElementBatch) -> Vec<(u16, u16, u32, &[u8])> {
    let mut offset = 0;
    messages(&batch.bytes)
        .map(|message| {
            let flags = u16::from_ne_bytes([batch.bytes[offset + 6], batch.bytes[offset + 7]]);
            offset += 16 + message.payload.len().next_multiple_of(4);
            (message.kind, flags, message.sequence, message.payload)
        })
        .collect()
}

#[test]
fn batch_holds_each_change_between_its_begin_and_its_end() {
    let changes = changes();
    let batch = ElementBatch::new(IpFamily::V4, &changes).unwrap();
    let read = read(&batch);
    let outline: Vec<_> =
        read.iter().map(|(kind, flags, number, _)| (*kind, *flags, *number)).collect();
    assert_eq!(
        outline,
        [
            (0x10, 0x1, 0),
            (0xa0e, 0x1, 1),
            (0xa0c, 0x601, 2),
            (0xa0e, 0x1, 3),
            (0xa0c, 0x605, 4),
            (0x11, 0x1, 5),
        ]
    );
    assert_eq!(batch.last, 4);
    assert_eq!(read[0].3, [0, 0, 0, 10]);
    assert_eq!(batch.element(0), None);
    assert_eq!(batch.element(1).unwrap().0, SetName::ClusterIps);
    assert_eq!(batch.element(3), batch.element(4));
    assert_eq!(batch.element(5), None);
    assert!(ElementBatch::new(IpFamily::V4, &BTreeMap::new()).is_none());
}

/// The bytes were compared with what nft 1.0.6 sends (`nft --debug=netlink`).
#[test]
fn keys_and_values_have_the_bytes_of_the_kernel() {
    let v4 = Front { address: [10, 0, 0, 1].into(), protocol: Protocol::Tcp, port: 80 };
    let v6 = Front { address: "fd00::1".parse().unwrap(), protocol: Protocol::Sctp, port: 0x1234 };
    let of_class = Class { service: 0x8001, endpoint: 2 };
    let v4_bytes = [10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0];
    let one = 1_u32.to_ne_bytes();
    let mut v6_bytes = vec![0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let address_v6 = v6_bytes.clone();
    v6_bytes.extend([132, 0, 0, 0, 0x12, 0x34, 0, 0]);
    let class_bytes = 0x8001_0002_u32.to_ne_bytes();
    let cases = [
        (Key::Address([10, 0, 0, 1].into()), vec![10, 0, 0, 1]),
        (Key::Front(v4), v4_bytes.to_vec()),
        (Key::Front(v6), v6_bytes.clone()),
        (Key::NodePort(Protocol::Udp, 53), vec![17, 0, 0, 0, 0, 53, 0, 0]),
        (Key::Nth(v4, 1), [[10, 0, 0, 1, 0, 80, 0, 0].as_slice(), &one].concat()),
        (Key::NodePortNth(Protocol::Udp, 53, 1), [[0, 53, 0, 0], one].concat()),
        (Key::Hairpin(v6.address), [address_v6.clone(), address_v6].concat()),
        (Key::Class(of_class), class_bytes.to_vec()),
        (Key::ClassNth(of_class, 1), [class_bytes, one].concat()),
    ];
    for (given, expected) in cases {
        let mut out = Vec::new();
        key(&mut out, &given);
        assert_eq!(out, expected, "{given:?}");
    }
}

#[test]
fn answers_name_their_question() {
    // The header of an answer is that of a question with another type.
    let answer = |sequence: u32, code: i32| {
        let mut bytes = Request::new(0, 2, 0, 0).with(1, &[0; 12]).finish(sequence);
        bytes[16..20].copy_from_slice(&code.to_ne_bytes());
        bytes
    };
    let question = table_question(IpFamily::V6).finish(9);
    let bytes = [answer(3, -2), answer(4, 0), question].concat();
    assert_eq!(answers(&bytes).collect::<Vec<_>>(), [(3, 2), (4, 0)]);
}

proptest! {
    #[test]
    fn garbage_answers_nothing_wrong(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(answers(&bytes).count() <= bytes.len() / 16);
    }
}
