use super::*;

#[test]
fn long_names_are_cut_to_what_nft_takes() {
    let longest = format!("{}/{}:{}", "n".repeat(63), "s".repeat(63), "p".repeat(15));
    let cut = comment(&longest);
    assert_eq!(cut.len(), COMMENT_LENGTH);
    assert!(cut.ends_with("...") && longest.starts_with(cut.trim_end_matches('.')));
    let short = &longest[..COMMENT_LENGTH];
    assert_eq!(comment(short).as_ref(), short);
}
