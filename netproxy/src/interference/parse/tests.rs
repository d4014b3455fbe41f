use proptest::prelude::*;

use super::*;

/// An attribute with its padding.
fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&u16::try_from(content.len() + 4).unwrap().to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, port: u32, family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = attributes.concat();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&u32::try_from(body.len() + 20).unwrap().to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&[0; 6]);
    bytes.extend_from_slice(&port.to_ne_bytes());
    bytes.extend_from_slice(&[family, 0, 0, 0]);
    bytes.extend_from_slice(&body);
    bytes
}

fn deleted_jump() -> Vec<u8> {
    let expressions = attribute(1, b"\x0c\0\x01\0immediate\0KUBE-SERVICES\0");
    let attributes = [
        attribute(1, b"nat\0"),
        attribute(2, b"PREROUTING\0"),
        attribute(3, &7_u64.to_be_bytes()),
        attribute(4 | 0x8000, &expressions),
    ];
    message(0x0a08, 41, 2, &attributes)
}

fn generation() -> Vec<u8> {
    let attributes = [
        attribute(1, &5_u32.to_be_bytes()),
        attribute(2, &1234_u32.to_be_bytes()),
        attribute(3, b"iptables\0"),
    ];
    message(0x0a0f, 41, 0, &attributes)
}

#[test]
fn every_kind_of_edit_is_read_with_its_names() {
    use Edit::{Added, Deleted};
    let cases = [
        (0, Added(ObjectKind::Table), None),
        (2, Deleted(ObjectKind::Table), None),
        (3, Added(ObjectKind::Chain), Some(3)),
        (5, Deleted(ObjectKind::Chain), Some(3)),
        (6, Added(ObjectKind::Rule), Some(2)),
        (8, Deleted(ObjectKind::Rule), Some(2)),
        (9, Added(ObjectKind::Set), Some(2)),
        (11, Deleted(ObjectKind::Set), Some(2)),
        (12, Added(ObjectKind::Element), Some(2)),
        (14, Deleted(ObjectKind::Element), Some(2)),
        (18, Added(ObjectKind::Other), Some(2)),
        (24, Deleted(ObjectKind::Other), Some(2)),
    ];
    for (number, expected, name_attribute) in cases {
        let mut attributes = vec![attribute(1, b"kube-proxy\0")];
        attributes.extend(name_attribute.map(|kind| attribute(kind, b"thing\0")));
        let bytes = message(0x0a00 | number, 9, 10, &attributes);
        let expected = Notice {
            port: 9,
            family: 10,
            content: Content::Edit {
                edit: expected,
                table: "kube-proxy",
                name: if name_attribute.is_some() { "thing" } else { "" },
                expressions: None,
            },
        };
        assert_eq!(notices(&bytes).collect::<Vec<_>>(), [expected], "message {number}");
    }
}

#[test]
fn several_messages_in_a_datagram_are_read_in_order() {
    let bytes = [deleted_jump(), generation()].concat();
    let read: Vec<_> = notices(&bytes).collect();
    let [Notice { port: 41, family: 2, content: Content::Edit { name, expressions, .. } }, last] =
        read.as_slice()
    else {
        panic!("{read:?}");
    };
    assert_eq!(*name, "PREROUTING");
    let words: Vec<_> = words_with_prefix(expressions.unwrap(), "KUBE-").collect();
    assert_eq!(words, ["KUBE-SERVICES"]);
    assert_eq!(last.content, Content::Generation { pid: 1234, name: "iptables" });
}

#[test]
fn other_messages_and_nameless_tables_are_left_out() {
    let table = [attribute(1, b"nat\0")];
    let cases = [
        message(0x0b00, 1, 2, &table),
        message(3, 1, 2, &table),
        message(0x0a01, 1, 2, &table),
        message(0x0aff, 1, 2, &table),
        message(0x0a02, 1, 2, &[]),
        message(0x0a02, 1, 2, &[attribute(1, b"\xff\xfe\0")]),
    ];
    for bytes in cases {
        assert_eq!(notices(&bytes).count(), 0, "{bytes:?}");
    }
}

#[test]
fn cut_datagram_yields_what_is_whole() {
    let bytes = [deleted_jump(), generation()].concat();
    for length in 0..bytes.len() {
        let whole = usize::from(length >= deleted_jump().len());
        assert_eq!(notices(&bytes[..length]).count(), whole, "cut at {length}");
    }
}

proptest! {
    #[test]
    fn garbage_ends_the_walk(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        for notice in notices(&bytes) {
            if let Content::Edit { expressions: Some(expressions), .. } = notice.content {
                words_with_prefix(expressions, "KUBE-").count();
            }
        }
    }

    #[test]
    fn garbage_in_a_real_message_ends_the_walk(
        position in 0..200_usize,
        byte in any::<u8>(),
    ) {
        let mut bytes = [deleted_jump(), generation()].concat();
        let position = position % bytes.len();
        bytes[position] = byte;
        prop_assert!(notices(&bytes).count() <= 2 + bytes.len() / 16);
    }
}
