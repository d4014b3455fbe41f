//! The text of iptables-save, which may hold whatever others wrote into their chains.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netproxy::config::IpFamily;
use netproxy::iptables::live::LiveReader;
use netproxy::iptables::parse::{parse_rule, parse_saved};
use netproxy::iptables::render::rule_text;
use netproxy::rules::RuleSet;
use netproxy::rules::ruleset::{Match, Rule};

/// Whether the words of the rule stand in its text as they are. Names in foreign rules may hold
/// what would have to be quoted, and comments are written without control characters.
fn is_plain(rule: &Rule, text: &str) -> bool {
    let quiet = |part: &Match| match part {
        Match::Comment(comment) => !comment.chars().any(char::is_control),
        Match::Foreign(_) => false,
        _ => true,
    };
    let outside_quotes = text.split('"').step_by(2).all(|part| !part.contains('\\'));
    rule.matches.iter().all(quiet) && outside_quotes
}

fuzz_target!(|text: &str| {
    for family in [IpFamily::V4, IpFamily::V6] {
        let live = parse_saved(text, family);
        assert!(live.chains.len() <= text.lines().count());
        let wanted = RuleSet::default();
        let mut reader = LiveReader::new(&wanted, family);
        text.lines().for_each(|line| reader.line(line));
        assert!(reader.finish().rules.chains.len() <= live.chains.len());
        for rule in live.chains.values().flatten() {
            let text = rule_text(rule, family);
            assert!(!text.contains('\n'));
            let again = parse_rule(&text, family);
            if is_plain(rule, &text)
                && !again.matches.iter().any(|m| matches!(m, Match::Foreign(_)))
            {
                assert_eq!(again, **rule, "{text}");
            }
        }
    }
});
