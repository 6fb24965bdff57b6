//! Text for a person: colour, tables, numbers, and names that come from files.

use std::borrow::Cow;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(pub bool);

impl Paint {
    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }
}

/// A text that a file may have written, with nothing in it that a terminal obeys. Line feeds stay.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let harmful =
        |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(harmful) {
        return text.into();
    }
    let show = |c: char| if harmful(c) { c.escape_unicode().collect::<String>() } else { c.to_string() };
    text.chars().map(show).collect::<String>().into()
}

/// A name that a file wrote, on one line and at most `width` characters, the middle left out.
pub(super) fn name(text: &str, width: usize) -> String {
    let text = clean(text).replace('\n', "\\n");
    let count = text.chars().count();
    if count <= width {
        return text;
    }
    let head = width.saturating_sub(1) / 2;
    let tail = width.saturating_sub(1) - head;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{start}…{end}")
}

/// `1.8 M`, three digits.
pub(super) fn short(number: f64) -> String {
    let units = ["", " k", " M", " G", " T", " P"];
    let (mut at, mut scaled) = (0, number);
    while scaled.abs() >= 999.5 && at + 1 < units.len() {
        scaled /= 1000.0;
        at += 1;
    }
    let digits = match scaled.abs() {
        _ if at == 0 => 0,
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{}", units[at])
}

/// `1.4 MB`.
pub(super) fn bytes(number: u64) -> String {
    let text = short(number as f64);
    if text.contains(' ') { format!("{text}B") } else { format!("{text} B") }
}

/// Rows under a head, without lines. Columns whose head begins with `>` are flush right.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|title| Cell::new(title.trim_start_matches('>'))));
    table.add_rows(rows.iter().cloned());
    for (column, title) in table.column_iter_mut().zip(head) {
        column.set_padding((0, 2));
        if title.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("  {}", line.trim_end())).collect::<Vec<_>>().join("\n")
}

/// Rows without a head.
pub(super) fn plain(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(widest).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("  {}", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A list with commas, broken into lines of at most `width`.
pub(super) fn wrapped(indent: &str, items: &[String], width: usize) -> String {
    let (mut lines, mut line) = (Vec::new(), String::from(indent));
    for (i, item) in items.iter().enumerate() {
        let comma = if i + 1 < items.len() { ", " } else { "" };
        if line.len() > indent.len() && line.chars().count() + item.chars().count() + comma.len() > width {
            lines.push(std::mem::replace(&mut line, String::from(indent)).trim_end().to_owned());
        }
        line += &format!("{item}{comma}");
    }
    lines.push(line);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_speak_to_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(clean("a\nb"), "a\nb");
        assert_eq!(name("a\nb", 9), "a\\nb");
        assert_eq!(name("/blocks.0/mlp/fc1/MatMul", 11), "/bloc…atMul");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1_821_706.0), "1.82 M");
        assert_eq!(short(999.0), "999");
        assert_eq!(bytes(88_200_000), "88.2 MB");
        assert_eq!(bytes(12), "12 B");
    }

    #[test]
    fn tables_align() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["bb".into(), "22".into()]];
        assert_eq!(table(&["name", ">n"], &rows), "  name   n\n  a      1\n  bb    22");
        assert_eq!(plain(&rows), "  a   1\n  bb  22");
        assert_eq!(wrapped(" ", &["aaa".into(), "bbb".into(), "c".into()], 9), " aaa,\n bbb, c");
    }
}
