//! An exact index of texts in a column: the row that holds a key or a native id.
//!
//! Hashes only find candidates; the texts themselves decide.

use hashbrown::HashTable;
use polars::prelude::StringChunked;
use xxhash_rust::xxh3::xxh3_64;

/// Rows by their text. Nulls are not in it.
pub struct TextIndex<'a> {
    texts: &'a StringChunked,
    rows: HashTable<u32>,
}

impl<'a> TextIndex<'a> {
    /// Indexes a column, and tells every row whose text an earlier row holds already, with that earlier row.
    pub fn build(texts: &'a StringChunked) -> (TextIndex<'a>, Vec<(u32, u32)>) {
        let mut again = Vec::new();
        let mut rows: HashTable<u32> = HashTable::with_capacity(texts.len());
        let text_of = |row: u32| texts.get(row as usize).unwrap_or_default();
        for row in 0..texts.len() as u32 {
            let Some(text) = texts.get(row as usize) else { continue };
            let entry = rows.entry(xxh3_64(text.as_bytes()), |other| text_of(*other) == text, |other| xxh3_64(text_of(*other).as_bytes()));
            match entry {
                hashbrown::hash_table::Entry::Occupied(first) => again.push((*first.get(), row)),
                hashbrown::hash_table::Entry::Vacant(place) => {
                    place.insert(row);
                }
            }
        }
        (TextIndex { texts, rows }, again)
    }

    /// The first row that holds this text.
    pub fn get(&self, text: &str) -> Option<u32> {
        self.rows.find(xxh3_64(text.as_bytes()), |row| self.texts.get(*row as usize) == Some(text)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polars::prelude::NewChunkedArray;

    #[test]
    fn finds_the_first_row_and_tells_the_others() {
        let texts = StringChunked::from_iter_options("".into(), [Some("a"), Some("b"), None, Some("a"), Some("")].into_iter());
        let (index, again) = TextIndex::build(&texts);
        assert_eq!(again, [(0, 3)]);
        assert_eq!([index.get("a"), index.get("b"), index.get(""), index.get("c")], [Some(0), Some(1), Some(4), None]);
    }
}
