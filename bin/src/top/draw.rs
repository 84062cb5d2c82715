//! How a view looks. Pure: it is drawn into a frame, of a terminal or of a test.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Style, Stylize as _},
    text::{Line, Text},
    widgets::{Cell, Paragraph, Row, Table, TableState},
};

use super::{
    look::{DEAD_SHOWN, is_crossing},
    page::{ago, head, percent, time, weight},
    view::View,
};

/// Columns of the classes before the bar.
const CLASS_WIDTHS: [u16; 8] = [10, 6, 7, 8, 12, 8, 8, 6];
/// Columns of the processes.
const GROUP_WIDTHS: [u16; 7] = [20, 9, 6, 7, 10, 12, 8];
/// Columns of the slow turns, and what they take.
const SLOW_WIDTHS: [u16; 4] = [14, 7, 5, 5];
const SLOW_WIDTH: u16 = 34;
/// Columns of the dead letters, which stand beside.
const DEAD_WIDTHS: [u16; 4] = [13, 10, 12, 5];
/// Columns of the executions.
const EXECUTION_WIDTHS: [u16; 4] = [10, 26, 8, 12];

/// Rows from which on there are blank ones between the tables. At 80x24 all is seen without them.
const ROOMY_HEIGHT: u16 = 32;

/// Draws `view` over the whole frame; what finds no room is cut off.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let is_roomy = frame.area().height >= ROOMY_HEIGHT;
    let dead_height = if is_roomy { DEAD_SHOWN + 1 } else { 3 };
    let lines = head(&view.url, &view.now).map(Line::from);
    let length = |rows: usize| Constraint::Length(u16::try_from(rows).unwrap_or(u16::MAX));
    let [head_area, classes_area, groups_area, both_area, executions_area, keys_area] =
        Layout::vertical([
            length(lines.len()),
            length(view.now.status.classes.len() + 1),
            Constraint::Fill(3),
            length(dead_height),
            Constraint::Fill(2),
            Constraint::Length(1),
        ])
        .spacing(u16::from(is_roomy))
        .areas(frame.area());
    let [slow_area, dead_area] =
        Layout::horizontal([Constraint::Length(SLOW_WIDTH), Constraint::Fill(1)])
            .spacing(2)
            .areas(both_area);
    frame.render_widget(Paragraph::new(Text::from_iter(lines)), head_area);
    classes(frame, classes_area, view);
    groups(frame, groups_area, view);
    slow_turns(frame, slow_area, view);
    dead_letters(frame, dead_area, view);
    executions(frame, executions_area, view);
    frame.render_widget(keys(view), keys_area);
}

fn classes(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let before_bar: u16 = CLASS_WIDTHS.iter().map(|width| width + 1).sum();
    let bar_width = area.width.saturating_sub(before_bar);
    let rows = view.now.status.classes.iter().zip(&view.rates.classes).map(|(class, rates)| {
        Row::new([
            Cell::from(class.name.as_str()),
            right(weight(class.weight)),
            right(class.queued.to_string()),
            right(rates.turns.to_string()),
            right(rates.reductions.to_string()),
            right(time(class.wait_ns.p99)),
            right(time(class.turn_ns.p99)),
            right(percent(rates.busy_permille)),
            Cell::from(bar(rates.busy_permille, bar_width)),
        ])
    });
    let header = Row::new([
        Cell::from("CLASS"),
        right("WEIGHT"),
        right("QUEUED"),
        right("TURNS/S"),
        right("REDUCTIONS/S"),
        right("WAIT P99"),
        right("TURN P99"),
        right("BUSY %"),
    ]);
    let widths = CLASS_WIDTHS.map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    frame.render_widget(Table::new(rows, widths).header(header.style(title())), area);
}

fn groups(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let groups = view.groups();
    let rows = groups.iter().map(|&(group, reductions)| {
        Row::new([
            Cell::from(group.name.as_str()),
            Cell::from(group.class.as_str()),
            right(group.count.to_string()),
            right(group.queued.to_string()),
            right(group.queued_bytes.to_string()),
            right(reductions.to_string()),
            right(group.restarts.to_string()),
        ])
    });
    let header = Row::new([
        Cell::from("PROCESSES"),
        Cell::from("CLASS"),
        right("COUNT"),
        right("QUEUED"),
        right("BYTES"),
        right("REDUCTIONS/S"),
        right("RESTARTS"),
    ]);
    let table = Table::new(rows, GROUP_WIDTHS).header(header.style(title()));
    frame.render_widget(table, area);
}

/// Those of the last 30 to 60 seconds.
fn slow_turns(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let status = &view.now.status;
    let rows = status.slow_lately.iter().map(|slow| {
        Row::new([
            Cell::from(slow.name.as_str()),
            right(time(slow.nanos)),
            right(slow.turns.to_string()),
            right(ago(status, slow.at_ms)),
        ])
    });
    let header =
        Row::new([Cell::from("SLOW TURNS"), right("LONGEST"), right("TURNS"), right("AGO")]);
    let table = Table::new(rows, SLOW_WIDTHS).header(header.style(title()));
    frame.render_widget(table, area);
}

fn dead_letters(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = view.now.dead.letters.iter().map(|letter| {
        Row::new([
            Cell::from(letter.receiver.as_str()),
            Cell::from(letter.kind.as_str()),
            Cell::from(letter.reason.as_str()),
            right(ago(&view.now.status, letter.at_ms)),
        ])
        .style(if is_crossing(&letter.reason) {
            Style::new().dim()
        } else {
            Style::new()
        })
    });
    let header = Row::new([
        Cell::from("DEAD LETTERS"),
        Cell::from("MESSAGE"),
        Cell::from("REASON"),
        right("AGO"),
    ]);
    let table = Table::new(rows, DEAD_WIDTHS).header(header.style(title()));
    frame.render_widget(table, area);
}

fn executions(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = view.now.executions.iter().map(|execution| {
        Row::new([
            Cell::from(execution.id.as_str()),
            Cell::from(execution.method.as_str()),
            right(execution.client.to_string()),
            right(execution.elapsed_ms.to_string()),
        ])
    });
    let header =
        Row::new([Cell::from("EXECUTIONS"), Cell::from("METHOD"), right("CLIENT"), right("MS")]);
    let table = Table::new(rows, EXECUTION_WIDTHS)
        .header(header.style(title()))
        .row_highlight_style(Style::new().reversed());
    // The offset is chosen so that the selected one is seen.
    let mut state = TableState::new().with_selected(view.chosen().map(|_| view.selected));
    frame.render_stateful_widget(table, area, &mut state);
}

/// The last line: what the keys do, or the question that is to be answered.
fn keys(view: &View) -> Line<'static> {
    if let Some(execution) = &view.doomed {
        let (id, method, client) = (&execution.id, &execution.method, execution.client);
        return Line::from(format!("kill {id}, {method} of client {client}? y/n")).bold();
    }
    let mut text = format!("q quit  s sort: {}  p pause  k kill  ↑↓ select", view.sort.name());
    if view.is_paused {
        text.push_str("   PAUSED");
    }
    if let Some(note) = &view.note {
        text.push_str("   ");
        text.push_str(note);
    }
    Line::from(text)
}

fn title() -> Style {
    Style::new().bold()
}

fn right<'a>(content: impl Into<Text<'a>>) -> Cell<'a> {
    Cell::from(content.into().right_aligned())
}

/// A bar over so many thousandths of `width` columns, to an eighth of a column.
fn bar(permille: u64, width: u16) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = usize::try_from(permille.min(1_000) * u64::from(width) * 8 / 1_000)
        .expect("not above 8 * u16::MAX");
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}
