//! Which rows of a file that was read as a whole changes address.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::change::{Action, AddressPart, Change};

/// For each change the rows at its address; none for one that creates a row, or names a column that there is not. `height` is the number of
/// rows, `column` the number of a column by its name, `wanted` what a part of an address asks for, and `said` what a column says in a row.
///
/// # Design
/// The index is over what is wanted, not over the file: its size is that of the changes.
pub(in crate::systems) fn addressed<'a>(
    changes: &'a [Change],
    height: usize,
    column: impl Fn(&str) -> Option<usize>,
    wanted: impl Fn(&'a AddressPart) -> Option<&'a str>,
    said: impl Fn(usize, usize) -> Option<Cow<'a, str>>,
) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<Vec<usize>, HashMap<String, Vec<usize>>> = BTreeMap::new();
    for (number, change) in changes.iter().enumerate().filter(|(_, change)| change.action != Action::Create) {
        let indices: Option<Vec<usize>> = change.address.iter().map(|part| column(&part.column)).collect();
        let Some(indices) = indices.filter(|indices| !indices.is_empty()) else { continue };
        let mut key = String::new();
        change.address.iter().for_each(|part| push_part(&mut key, wanted(part)));
        groups.entry(indices).or_default().entry(key).or_default().push(number);
    }
    let mut at = vec![Vec::new(); changes.len()];
    let mut key = String::new();
    for (indices, wanted) in &groups {
        for row in 0..height {
            key.clear();
            indices.iter().for_each(|index| push_part(&mut key, said(*index, row).as_deref()));
            for number in wanted.get(key.as_str()).into_iter().flatten() {
                at[*number].push(row);
            }
        }
    }
    at
}

/// Adds one part of a key such that no two lists of parts give one key.
fn push_part(key: &mut String, text: Option<&str>) {
    match text {
        None => key.push('-'),
        Some(text) => {
            key.push_str(&text.len().to_string());
            key.push(':');
            key.push_str(text);
        }
    }
}
