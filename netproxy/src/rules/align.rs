//! Pure. Two versions of a chain side by side: what stays, what goes, what comes.

use std::collections::HashMap;
use std::sync::Arc;

use super::ruleset::Rule;

/// What happens to one rule on the way from one version of a chain to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aligned<'a> {
    /// In both, in the same order among all that stay.
    Keep(&'a Arc<Rule>),
    /// Only in the old version, or elsewhere in the new one.
    Delete(&'a Arc<Rule>),
    /// Only in the new version, or elsewhere in the old one.
    Insert(&'a Arc<Rule>),
}

/// Both versions as one sequence: without what is inserted it is `from`, without what is deleted
/// it is `to`. As many rules as possible are kept.
pub fn align<'a>(from: &'a [Arc<Rule>], to: &'a [Arc<Rule>]) -> Vec<Aligned<'a>> {
    let head = from.iter().zip(to).take_while(|(a, b)| same(a, b)).count();
    let (old, new) = (&from[head..], &to[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| same(a, b)).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);

    let mut aligned: Vec<Aligned<'a>> = from[..head].iter().map(Aligned::Keep).collect();
    let mut next_new = 0;
    let mut next_old = 0;
    for (position_old, position_new) in kept(old, new) {
        aligned.extend(old[next_old..position_old].iter().map(Aligned::Delete));
        aligned.extend(new[next_new..position_new].iter().map(Aligned::Insert));
        aligned.push(Aligned::Keep(&old[position_old]));
        (next_old, next_new) = (position_old + 1, position_new + 1);
    }
    aligned.extend(old[next_old..].iter().map(Aligned::Delete));
    aligned.extend(new[next_new..].iter().map(Aligned::Insert));
    aligned.extend(from[from.len() - tail..].iter().map(Aligned::Keep));
    aligned
}

fn same(a: &Arc<Rule>, b: &Arc<Rule>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// Positions in both versions of the rules that stay, growing in both: the longest rising run
/// among the places where old rules went.
fn kept(old: &[Arc<Rule>], new: &[Arc<Rule>]) -> Vec<(usize, usize)> {
    let mut places: HashMap<&Rule, Vec<usize>> = HashMap::new();
    // From the end, so that the first of equal rules is taken out first.
    for (position, rule) in new.iter().enumerate().rev() {
        places.entry(rule).or_default().push(position);
    }
    let pairs: Vec<(usize, usize)> = old
        .iter()
        .enumerate()
        .filter_map(|(position, rule)| Some((position, places.get_mut(&**rule)?.pop()?)))
        .collect();
    // `ends[n]` is the pair that closes the rising run of n + 1 pairs with the lowest end.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (index, (_, place)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| pairs[*end].1 < *place);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut run = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(index) = next {
        run.push(pairs[index]);
        next = before[index];
    }
    run.reverse();
    run
}

#[cfg(test)]
mod tests;
