//! What executions say beside their results, heard while they run. Pure.

use revm::{Database, handler::FrameResult, interpreter::interpreter_action::FrameInit};

use crate::{
    call_tree::{CallTree, Recorder},
    console::{ConsoleCalls, Listener},
    slice::VmContext,
};

/// What of it somebody wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noting {
    /// Calls of the console.
    pub has_console: bool,
    /// All calls.
    pub has_calls: bool,
}

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Calls of the console.
    pub console: ConsoleCalls,
    /// All calls.
    pub calls: CallTree,
}

impl Noted {
    /// Returns true if there was nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.console.is_empty() && self.calls.is_empty()
    }
}

/// Who hears it, of one transaction after another; of system calls nothing.
#[derive(Debug)]
pub(crate) struct Notes {
    console: Option<Listener>,
    calls: Option<Recorder>,
    is_system: bool,
    /// Logs in the journal that were heard.
    logs_seen: usize,
}

impl Notes {
    /// `None` if nobody wants to know anything.
    pub(crate) fn new(noting: Noting) -> Option<Box<Self>> {
        let Noting { has_console, has_calls } = noting;
        (has_console || has_calls).then(|| {
            Box::new(Self {
                console: has_console.then(Listener::new),
                calls: has_calls.then(Recorder::new),
                is_system: false,
                logs_seen: 0,
            })
        })
    }

    /// A transaction or a system call begins.
    pub(crate) fn begins(&mut self, is_system: bool) {
        self.is_system = is_system;
        if let Some(calls) = &mut self.calls {
            calls.tx_begins();
        }
    }

    /// A frame begins. Quick where only the console is listened to, for every call comes here.
    #[inline]
    pub(crate) fn frame_begins<DB: Database>(&mut self, init: &FrameInit, context: &VmContext<DB>) {
        if self.is_system {
            return;
        }
        // Fewer than before after a failed frame, or where the journal was taken.
        self.logs_seen = context.journaled_state.inner.logs.len();
        if let Some(console) = &mut self.console {
            console.hear(init, context);
        }
        if let Some(calls) = &mut self.calls {
            calls.begins(init, context);
        }
    }

    /// The frame on top ran for a while; it is not undone yet if it failed.
    #[inline]
    pub(crate) fn frame_ran<DB: Database>(&mut self, context: &VmContext<DB>) {
        if self.is_system {
            return;
        }
        let logs = &context.journaled_state.inner.logs;
        // Fewer than before while a failed frame is undone.
        let new = &logs[self.logs_seen.min(logs.len())..];
        self.logs_seen = logs.len();
        if let Some(console) = &mut self.console {
            for log in new {
                console.hear_log(log);
            }
        }
        if let Some(calls) = &mut self.calls {
            calls.ran(new, context);
        }
    }

    /// A frame ended.
    #[inline]
    pub(crate) fn frame_ends<DB: Database>(
        &mut self,
        result: &FrameResult,
        context: &VmContext<DB>,
    ) {
        if self.is_system {
            return;
        }
        self.logs_seen = context.journaled_state.inner.logs.len();
        if let Some(calls) = &mut self.calls {
            calls.ends(result, context);
        }
    }

    /// No more calls are recorded, but for those of the console.
    pub(crate) fn end_calls(&mut self) {
        self.calls = None;
    }

    /// Takes what was heard since the last time; the room that it took is not given back.
    pub(crate) fn take(&mut self) -> Noted {
        Noted {
            console: self.console.as_mut().map(Listener::take).unwrap_or_default(),
            calls: self.calls.as_mut().map(Recorder::take).unwrap_or_default(),
        }
    }
}
