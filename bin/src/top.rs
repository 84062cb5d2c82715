//! `evenkeel top`: what a running node's scheduler does, on a screen or as text.
//!
//! Two looks a second apart give the rates. The node is asked over plain HTTP; nothing here runs on
//! its scheduler. On a terminal [`screen`] keeps a picture that answers keys: [`view`] is its state
//! and [`draw`] its look, both pure. Elsewhere, and with `--once`, [`page`] is printed.

mod draw;
mod look;
mod page;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::Result;

use look::{Node, Rates};
use view::View;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Shows what the node at `url` does: one time, or until it is interrupted.
///
/// # Errors
///
/// The URL is not `http://HOST:PORT`, or the node does not answer; on the screen only if it does
/// not answer at first, or if the terminal fails.
pub(crate) fn run(url: &str, is_once: bool) -> Result<()> {
    let node = Node::at(url)?;
    let mut before = node.look()?;
    if !is_once && std::io::stdout().is_terminal() {
        return screen::run(node, View::new(url, before));
    }
    loop {
        rest();
        let now = node.look()?;
        let text = page::page(url, &now, &Rates::between(&before, &now));
        // Whoever read it has gone.
        let is_over = std::io::stdout().lock().write_all(text.as_bytes()).is_err();
        if is_once || is_over {
            return Ok(());
        }
        before = now;
    }
}

#[expect(clippy::disallowed_methods, reason = "this process has no scheduler")]
fn rest() {
    std::thread::sleep(LOOK_EVERY);
}
