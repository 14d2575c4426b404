//! Statements of SQL as text with the values of their placeholders: what every SQL server needs.
//!
//! A name never gets into a statement unquoted and a value never gets into it at all: values are bound. Nothing here
//! knows how a server compares, stores or binds; whoever does hands in the conditions.

/// The name that statements give to the row they read or write, so that a column is never taken for anything else.
pub(super) const ROW: &str = "r";

/// A statement, or a piece of one, with the values of its placeholders in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fragment<V> {
    /// The text; a `?` for each value.
    pub text: String,
    /// The values.
    pub values: Vec<V>,
}

/// A name as a quoted identifier: reserved words, blanks and quotes are only letters in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A column of [`ROW`]. With its row before it, a name that is no column is an error and never read as a text.
pub(super) fn column_of_row(name: &str) -> String {
    format!("{ROW}.{}", quoted(name))
}

/// `fragments` with a word between them, in brackets.
pub(super) fn joined<V>(fragments: Vec<Fragment<V>>, word: &str) -> Fragment<V> {
    let mut texts = Vec::with_capacity(fragments.len());
    let mut values = Vec::new();
    for fragment in fragments {
        texts.push(fragment.text);
        values.extend(fragment.values);
    }
    Fragment { text: format!("({})", texts.join(word)), values }
}

/// Reads `expressions` of the rows of `from` that meet the condition, in the order of `order`.
pub(super) fn select<V>(expressions: &[String], from: &str, condition: Option<Fragment<V>>, order: &[String]) -> Fragment<V> {
    let mut text = format!("SELECT {} FROM {from} AS {ROW}", expressions.join(", "));
    let mut values = Vec::new();
    if let Some(condition) = condition {
        text.push_str(" WHERE ");
        text.push_str(&condition.text);
        values = condition.values;
    }
    if !order.is_empty() {
        text.push_str(" ORDER BY ");
        text.push_str(&order.join(", "));
    }
    Fragment { text, values }
}

/// Sets cells of the rows of a table that meet all conditions; delivers `returning` of each row that was set. `verb` is the
/// server's `UPDATE`, with what it says about conflicts.
pub(super) fn update<V>(verb: &str, table: &str, cells: Vec<(&str, V)>, conditions: Vec<Fragment<V>>, returning: &[String]) -> Fragment<V> {
    let assignments: Vec<String> = cells.iter().map(|(column, _)| format!("{} = ?", quoted(column))).collect();
    let condition = joined(conditions, " AND ");
    let text = format!("{verb} {} AS {ROW} SET {} WHERE {} RETURNING {}", quoted(table), assignments.join(", "), condition.text, returning.join(", "));
    let values = cells.into_iter().map(|(_, value)| value).chain(condition.values).collect();
    Fragment { text, values }
}

/// Adds one row to a table; delivers `returning` of it. Columns that are not named get what the table gives them. `verb` is
/// the server's `INSERT`, with what it says about conflicts.
pub(super) fn insert<V>(verb: &str, table: &str, cells: Vec<(&str, V)>, returning: &[String]) -> Fragment<V> {
    let returning = returning.join(", ");
    if cells.is_empty() {
        return Fragment { text: format!("{verb} INTO {} DEFAULT VALUES RETURNING {returning}", quoted(table)), values: Vec::new() };
    }
    let columns: Vec<String> = cells.iter().map(|(column, _)| quoted(column)).collect();
    let marks = vec!["?"; cells.len()].join(", ");
    let text = format!("{verb} INTO {} ({}) VALUES ({marks}) RETURNING {returning}", quoted(table), columns.join(", "));
    Fragment { text, values: cells.into_iter().map(|(_, value)| value).collect() }
}

/// Removes the rows of a table that meet all conditions; delivers `returning` of each.
pub(super) fn delete<V>(table: &str, conditions: Vec<Fragment<V>>, returning: &[String]) -> Fragment<V> {
    let condition = joined(conditions, " AND ");
    let text = format!("DELETE FROM {} AS {ROW} WHERE {} RETURNING {}", quoted(table), condition.text, returning.join(", "));
    Fragment { text, values: condition.values }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equals(column: &str, value: i32) -> Fragment<i32> {
        Fragment { text: format!("{} = ?", column_of_row(column)), values: vec![value] }
    }

    #[test]
    fn names_are_quoted_and_values_stay_outside() {
        let statement =
            update("UPDATE", "or\"der", vec![("select", 1), ("a; drop table x", 2)], vec![equals("id", 3), equals("a b", 4)], &["rowid".to_owned()]);
        assert_eq!(statement.text, r#"UPDATE "or""der" AS r SET "select" = ?, "a; drop table x" = ? WHERE (r."id" = ? AND r."a b" = ?) RETURNING rowid"#);
        assert_eq!(statement.values, [1, 2, 3, 4]);
    }

    #[test]
    fn a_row_of_defaults_needs_no_columns() {
        assert_eq!(insert::<i32>("INSERT", "t", vec![], &["rowid".to_owned()]).text, r#"INSERT INTO "t" DEFAULT VALUES RETURNING rowid"#);
    }
}
