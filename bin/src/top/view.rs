//! What the screen shows and how it answers keys. Pure: what is to be done is returned.

use std::cmp::Reverse;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::look::{Execution, Group, Look, Rates};

/// By what the processes are sorted, the most first; names by the alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Queued,
    Bytes,
    Reductions,
    Name,
}

impl Sort {
    /// What the key line calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Bytes => "bytes",
            Self::Reductions => "reductions",
            Self::Name => "name",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Queued => Self::Bytes,
            Self::Bytes => Self::Reductions,
            Self::Reductions => Self::Name,
            Self::Name => Self::Queued,
        }
    }
}

/// What a key asks for beyond the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Leave.
    Quit,
    /// End the execution of this id.
    Kill(String),
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct View {
    pub(super) url: String,
    pub(super) now: Look,
    pub(super) rates: Rates,
    pub(super) sort: Sort,
    /// Looks are left aside.
    pub(super) is_paused: bool,
    /// Position in the list of executions; 0 if that is empty.
    pub(super) selected: usize,
    /// The execution whose end is to be confirmed: a later look does not change it.
    pub(super) doomed: Option<Execution>,
    /// What went wrong, or was done, last.
    pub(super) note: Option<String>,
}

impl View {
    /// A view of a first look; there are no rates before the second.
    pub(super) fn new(url: &str, first: Look) -> Self {
        Self {
            url: url.to_owned(),
            rates: Rates::between(&first, &first),
            now: first,
            sort: Sort::Queued,
            is_paused: false,
            selected: 0,
            doomed: None,
            note: None,
        }
    }

    /// The selected execution, if there is any.
    pub(super) fn chosen(&self) -> Option<&Execution> {
        self.now.executions.get(self.selected)
    }

    /// The groups as they are sorted, with their reductions a second. O(n log n).
    pub(super) fn groups(&self) -> Vec<(&Group, u64)> {
        let mut groups: Vec<_> =
            self.now.groups.iter().zip(self.rates.groups.iter().copied()).collect();
        // Stable: equals stay in the order of the node, the longest queues first.
        match self.sort {
            Sort::Queued => groups.sort_by_key(|(group, _)| Reverse(group.queued)),
            Sort::Bytes => groups.sort_by_key(|(group, _)| Reverse(group.queued_bytes)),
            Sort::Reductions => groups.sort_by_key(|&(_, reductions)| Reverse(reductions)),
            Sort::Name => groups.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name)),
        }
        groups
    }

    /// Takes a look in, unless the view is paused; what was said last is over. The selection stays
    /// on its execution; if that has ended, on its place.
    pub(super) fn seen(&mut self, now: Look) {
        self.note = None;
        if self.is_paused {
            return;
        }
        let chosen = self.chosen().map(|execution| execution.id.clone());
        let place = now.executions.iter().position(|one| Some(&one.id) == chosen.as_ref());
        let last = now.executions.len().saturating_sub(1);
        self.selected = place.unwrap_or_else(|| self.selected.min(last));
        self.rates = Rates::between(&self.now, &now);
        self.now = now;
    }

    /// Says what went wrong or was done, until the next look.
    pub(super) fn say(&mut self, note: String) {
        self.note = Some(note);
    }

    /// Answers a key.
    pub(super) fn pressed(&mut self, key: KeyEvent) -> Option<Action> {
        // In raw mode Ctrl-C is a key like any other.
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Some(Action::Quit);
        }
        if self.doomed.is_some() {
            return self.confirmed(key.code);
        }
        match key.code {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Char('k') => self.doomed = self.chosen().cloned(),
            KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down => {
                let last = self.now.executions.len().saturating_sub(1);
                self.selected = (self.selected + 1).min(last);
            }
            _ => {}
        }
        None
    }

    /// Answers a key while an end is to be confirmed.
    fn confirmed(&mut self, key: KeyCode) -> Option<Action> {
        match key {
            KeyCode::Char('y') => self.doomed.take().map(|execution| Action::Kill(execution.id)),
            KeyCode::Char('n') | KeyCode::Esc => {
                self.doomed = None;
                None
            }
            _ => None,
        }
    }
}
