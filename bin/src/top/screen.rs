//! The terminal of `evenkeel top`: shows the view, reads keys, and leaves the terminal as it was.
//!
//! The node is asked from a thread of its own, so that keys are answered while it is slow. A signal
//! that ends a process ends this one too, after the terminal has been given back.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
    low_level::emulate_default_handler,
};

use super::{
    LOOK_EVERY,
    draw::draw,
    look::{Look, Node},
    view::{Action, View},
};

/// How long a report may wait for the screen, which waits for keys meanwhile.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// What the asking thread tells, if the node did not fail it.
enum Report {
    Look(Box<Look>),
    /// The execution of this id has been ended.
    Killed(String),
}

/// The terminal while it is ours. It is given back when this is dropped; if we panic, also before
/// the panic is printed.
struct Screen(DefaultTerminal);

impl Screen {
    fn enter() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| leave())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn leave() {
    // A terminal that has gone needs nothing.
    let _ = ratatui::try_restore();
}

/// Shows `view` of `node` until the user leaves.
///
/// # Errors
///
/// The terminal fails. A node that does not answer is said on the screen and asked again.
pub(super) fn run(node: Node, mut view: View) -> Result<()> {
    // One order at a time: there is one user. One report: no look is taken ahead of the screen.
    let (orders, to_do) = sync_channel(1);
    let (reports, news) = sync_channel(1);
    start(move || ask(&node, &to_do, &reports));
    let signals = Signals::listen().context("cannot listen for signals")?;
    let mut screen = Screen::enter().context("the terminal does not take orders")?;
    loop {
        screen.0.draw(|frame| draw(frame, &view)).context("the terminal has failed")?;
        match next(&news, &signals)? {
            Next::Signal(signal) => {
                drop(screen);
                // Whoever waits for this process is to see what ended it.
                return emulate_default_handler(signal).context("the signal does not end us");
            }
            Next::Input(Event::Key(key)) if key.is_press() => match view.pressed(key) {
                None => {}
                Some(Action::Quit) => return Ok(()),
                Some(Action::Kill(id)) => match orders.try_send(id) {
                    Ok(()) => {}
                    Err(_) => view.say("the node has not answered yet".to_owned()),
                },
            },
            // Another size, for example: it is drawn anew.
            Next::Input(_) => {}
            Next::Report(Ok(Report::Look(look))) => view.seen(*look),
            Next::Report(Ok(Report::Killed(id))) => view.say(format!("{id} is killed")),
            Next::Report(Err(error)) => view.say(format!("{error:#}")),
        }
    }
}

/// Which signal asked this process to end.
struct Signals(Arc<AtomicUsize>);

impl Signals {
    fn listen() -> io::Result<Self> {
        let arrived = Arc::new(AtomicUsize::new(0));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            let number = usize::try_from(signal).expect("signals have positive numbers");
            flag::register_usize(signal, Arc::clone(&arrived), number)?;
        }
        Ok(Self(arrived))
    }

    fn arrived(&self) -> Option<i32> {
        let signal = self.0.load(Ordering::Relaxed);
        (signal != 0).then(|| i32::try_from(signal).expect("it was one of three small numbers"))
    }
}

enum Next {
    Signal(i32),
    Input(Event),
    Report(Result<Report>),
}

/// Waits for a signal, a key or a report; a signal may wait for as long as a report.
fn next(news: &Receiver<Result<Report>>, signals: &Signals) -> Result<Next> {
    loop {
        if let Some(signal) = signals.arrived() {
            return Ok(Next::Signal(signal));
        }
        match news.try_recv() {
            Ok(report) => return Ok(Next::Report(report)),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => bail!("nobody asks the node any more"),
        }
        if event::poll(KEY_WAIT).context("the terminal has failed")? {
            return Ok(Next::Input(event::read().context("the terminal has failed")?));
        }
    }
}

/// Looks at the node every second and carries out orders, until the screen is gone.
fn ask(node: &Node, orders: &Receiver<String>, reports: &SyncSender<Result<Report>>) {
    loop {
        let report = match orders.recv_timeout(LOOK_EVERY) {
            Ok(id) => node.kill(&id).map(|()| Report::Killed(id)),
            Err(RecvTimeoutError::Timeout) => node.look().map(|look| Report::Look(Box::new(look))),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if reports.send(report).is_err() {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this process has no scheduler")]
fn start(work: impl FnOnce() + Send + 'static) {
    // It ends with the screen or with the process, whichever comes first.
    drop(std::thread::spawn(work));
}
