//! What the kernel tells of rules that others changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netproxy::interference::parse::{Content, notices, words_with_prefix};

fuzz_target!(|datagram: &[u8]| {
    let mut count = 0;
    for notice in notices(datagram) {
        count += 1;
        if let Content::Edit { expressions: Some(expressions), .. } = notice.content {
            for word in words_with_prefix(expressions, "KUBE-") {
                assert!(word.starts_with("KUBE-"));
            }
        }
    }
    assert!(count <= datagram.len() / 16);
});
