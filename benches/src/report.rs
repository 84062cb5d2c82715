//! Prints tables and writes the JSON form of a report.

use serde_json::Value;
use std::{fmt::Write as _, fs, io, path::Path};

/// Lays `rows` out in columns: the first to the left, the others to the right.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(heads[column].chars().count())
    };
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let written = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
            written.expect("a String takes any text");
        }
        text.push('\n');
    };
    line(heads);
    for row in rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}

/// Milliseconds with as many digits as they deserve.
pub fn ms(millis: f64) -> String {
    match millis {
        _ if millis < 9.995 => format!("{millis:.2}"),
        _ if millis < 999.5 => format!("{millis:.1}"),
        _ => format!("{millis:.0}"),
    }
}

/// Writes `report` to `path`, if one is given.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_json(path: Option<&Path>, report: &Value) -> io::Result<()> {
    path.map_or(Ok(()), |path| fs::write(path, format!("{report:#}\n")))
}
