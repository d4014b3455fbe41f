//! What `nft list table` prints, of a table that others may have changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netproxy::config::IpFamily;
use netproxy::nftables::parse::parse_table;
use netproxy::nftables::parse_rule::parse_rule;
use netproxy::nftables::render_rule::RuleText;

fuzz_target!(|text: &str| {
    for family in [IpFamily::V4, IpFamily::V6] {
        let _ = parse_table(text, family);
        for line in text.lines() {
            let Some(rule) = parse_rule(line.trim(), family) else { continue };
            let again = RuleText { rule: &rule, family }.to_string();
            if let Some(reread) = parse_rule(&again, family) {
                assert_eq!(reread, rule, "{again}");
            }
        }
    }
});
