//! The screen and the printed page of two answers that were written down; the keys.

use anyhow::Result;
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Cell,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Modifier,
};

use super::{
    draw::draw,
    look::{Look, Rates},
    page::page,
    view::{Action, Sort, View},
};

const URL: &str = "http://127.0.0.1:8545";

fn look(answers: &str) -> Look {
    let answers = serde_json::from_str(answers).expect("JSON");
    Look::read(&answers).expect("a look")
}

fn before() -> Look {
    look(include_str!("tests/before.json"))
}

fn now() -> Look {
    look(include_str!("tests/now.json"))
}

fn view() -> View {
    let mut view = View::new(URL, before());
    view.seen(now());
    view
}

fn press(view: &mut View, code: KeyCode) -> Option<Action> {
    view.pressed(KeyEvent::from(code))
}

fn screen(view: &View, width: u16, height: u16) -> Terminal<TestBackend> {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| draw(frame, view));
    terminal
}

/// The screen's lines without what is blank at their ends.
fn lines(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width);
    let row = |row: &[Cell]| row.iter().map(Cell::symbol).collect();
    let rows = buffer.content.chunks(width).map(row);
    rows.map(|row: String| row.trim_end().to_owned()).collect()
}

/// The ids of executions whose row is marked.
fn marked(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let rows = buffer.content.chunks(usize::from(buffer.area.width));
    let marked = rows.filter(|row| row[0].modifier.contains(Modifier::REVERSED));
    let id =
        |row: &[Cell]| row.iter().map(Cell::symbol).take_while(|symbol| *symbol != " ").collect();
    marked.map(id).collect()
}

/// Goal: the whole screen is as it was when somebody last looked at it and was content.
#[test]
fn a_screen_is_as_drawn_before() {
    let terminal = screen(&view(), 100, 34);
    let lines = lines(&terminal).join("\n") + "\n";
    assert_eq!(lines, include_str!("tests/screen.txt"), "now:\n{lines}");
    assert_eq!(marked(&terminal), ["0x11"]);
}

/// Goal: the same for the page that is printed where there is no terminal.
#[test]
fn a_page_is_as_printed_before() {
    let (before, now) = (before(), now());
    let page = page(URL, &now, &Rates::between(&before, &now));
    assert_eq!(page, include_str!("tests/page.txt"), "now:\n{page}");
}

/// Goal: what an end has crossed, as wake-ups of calls that are over, is not counted with what was
/// lost, nor does it hide that.
#[test]
fn what_an_end_has_crossed_is_no_fault() {
    let head = |look: &Look| super::page::head(URL, look)[3].clone();
    let mut now = now();
    assert_eq!(head(&now), "dead letters: 2   full 2   crossed by an end: 11");
    let reasons: Vec<_> = now.dead.letters.iter().map(|letter| &*letter.reason).collect();
    assert_eq!(reasons, ["full", "ended", "earlier_life", "ended"], "the newest is not the first");
    now.dead.by_reason.remove("full");
    now.dead.total = 11;
    assert_eq!(head(&now), "dead letters: 0   crossed by an end: 11");
}

/// Goal: no size of a terminal is too small, and none is filled beyond its end.
#[test]
fn a_screen_of_any_size_is_drawn() {
    let mut view = view();
    press(&mut view, KeyCode::Char('k'));
    for (width, height) in [(1, 1), (10, 3), (40, 10), (80, 24), (500, 200)] {
        let lines = lines(&screen(&view, width, height));
        assert_eq!(lines.len(), usize::from(height));
    }
}

/// Goal: on a terminal of the usual size all is there that one looks for, each table with a row or
/// more and no column cut off; on paper as well, and no line is wider.
#[test]
fn the_usual_terminal_shows_all() {
    let mut view = view();
    press(&mut view, KeyCode::Char('k'));
    let screen = lines(&screen(&view, 80, 24));
    assert!(screen[23].starts_with("kill 0x11"), "{screen:#?}");
    let page = page(URL, &now(), &Rates::between(&before(), &now()));
    let page: Vec<_> = page.lines().map(str::to_owned).collect();
    for lines in [&screen, &page] {
        for [title, last, row, value] in [
            ["evenkeel http://", "actors 41", "executions: 3 running", "restarts 1"],
            [
                "turns over 1 ms: 4 (3 preempted)",
                "2345us writer",
                "dead letters: 2 ",
                "crossed by an end: 11",
            ],
            ["CLASS ", "BUSY %", "system ", "first"],
            ["PROCESSES ", "RESTARTS", "pool ", "65536"],
            ["SLOW TURNS ", "AGO", "writer ", "2345us"],
        ] {
            let at = lines.iter().position(|line| line.starts_with(title)).expect(title);
            assert!(lines[at].contains(last), "{title}: {lines:#?}");
            let shown = lines[at + 1].starts_with(row) && lines[at + 1].contains(value);
            assert!(shown, "{row}: {lines:#?}");
        }
        let at = lines.iter().position(|line| line.contains("DEAD LETTERS ")).expect("a title");
        assert!(lines[at].ends_with("AGO"), "{lines:#?}");
        for part in ["Admission ", "Submit ", "full ", " 2s"] {
            assert!(lines[at + 1].contains(part), "{part}: {lines:#?}");
        }
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
    }
    assert!(screen.iter().any(|line| line.starts_with("0x12 ")), "{screen:#?}");
}

/// Goal: an execution ends only if its end is confirmed, and it is the one that was asked about,
/// whatever was seen in between.
#[test]
fn an_end_is_confirmed() {
    let mut view = view();
    assert_eq!(press(&mut view, KeyCode::Char('y')), None, "nothing was asked");
    press(&mut view, KeyCode::Down);
    assert_eq!(press(&mut view, KeyCode::Char('k')), None);
    let question = "kill 0x12, debug_traceTransaction of client 4? y/n";
    assert_eq!(lines(&screen(&view, 100, 34))[33], question);
    for other in [KeyCode::Char('q'), KeyCode::Char('k'), KeyCode::Enter, KeyCode::Up] {
        assert_eq!(press(&mut view, other), None, "{other:?} is no answer");
    }
    let mut later = now();
    later.executions.remove(1);
    view.seen(later);
    assert_eq!(lines(&screen(&view, 100, 34))[33], question);
    assert_eq!(press(&mut view, KeyCode::Char('y')), Some(Action::Kill("0x12".to_owned())));
    assert_eq!(press(&mut view, KeyCode::Char('y')), None, "once is enough");

    for refusal in [KeyCode::Char('n'), KeyCode::Esc] {
        press(&mut view, KeyCode::Char('k'));
        assert!(view.doomed.is_some());
        assert_eq!(press(&mut view, refusal), None);
        assert_eq!(view.doomed, None);
    }
    view.seen(Look { executions: Vec::new(), ..now() });
    press(&mut view, KeyCode::Char('k'));
    assert_eq!(view.doomed, None, "there is nothing to end");
}

/// Goal: the selection stays on its execution while others come and go, and within the list.
#[test]
fn a_selection_stays_where_it_is() {
    let mut view = view();
    press(&mut view, KeyCode::Up);
    assert_eq!(view.selected, 0);
    for _ in 0..5 {
        press(&mut view, KeyCode::Down);
    }
    assert_eq!(view.chosen().map(|one| one.id.as_str()), Some("0x13"));
    let mut later = now();
    later.executions.remove(0);
    view.seen(later);
    assert_eq!(marked(&screen(&view, 100, 34)), ["0x13"], "it has moved up");
    view.seen(before());
    assert_eq!(marked(&screen(&view, 100, 34)), ["0x12"], "the place of one that has ended");
    view.seen(Look { executions: Vec::new(), ..now() });
    assert_eq!(view.chosen(), None);
    assert!(marked(&screen(&view, 100, 34)).is_empty());

    // More than there is room for: the selected one is seen.
    let mut many = now();
    many.executions = (0..100)
        .map(|id| {
            let mut one = now().executions[0].clone();
            one.id = format!("{id:#x}");
            one
        })
        .collect();
    view.seen(many);
    for _ in 0..70 {
        press(&mut view, KeyCode::Down);
    }
    assert_eq!(marked(&screen(&view, 100, 34)), ["0x46"]);
}

/// Goal: every order of the processes is that of its figure.
#[test]
fn processes_are_sorted_by_each_key() {
    let mut view = view();
    let first = |view: &View| view.groups()[0].0.name.clone();
    assert_eq!((view.sort, first(&view).as_str()), (Sort::Queued, "pool"));
    press(&mut view, KeyCode::Char('s'));
    let bytes: Vec<_> = view.groups().iter().map(|(group, _)| group.queued_bytes).collect();
    assert_eq!(view.sort, Sort::Bytes);
    assert!(bytes.is_sorted_by(|one, next| one >= next), "{bytes:?}");
    press(&mut view, KeyCode::Char('s'));
    let rates: Vec<_> = view.groups().iter().map(|&(_, rate)| rate).collect();
    assert_eq!(view.sort, Sort::Reductions);
    assert!(rates.is_sorted_by(|one, next| one >= next) && rates[0] > 0, "{rates:?}");
    press(&mut view, KeyCode::Char('s'));
    let names: Vec<_> = view.groups().iter().map(|(group, _)| group.name.clone()).collect();
    assert_eq!(view.sort, Sort::Name);
    assert!(names.is_sorted(), "{names:?}");
    press(&mut view, KeyCode::Char('s'));
    assert_eq!(view.sort, Sort::Queued);
}

/// Goal: a paused view stands still and says so; it goes on with the rates of all that was missed.
#[test]
fn a_paused_view_stands_still() {
    let mut view = View::new(URL, before());
    press(&mut view, KeyCode::Char('p'));
    view.seen(now());
    assert_eq!(view.now, before());
    assert!(lines(&screen(&view, 100, 34))[33].ends_with("PAUSED"));
    press(&mut view, KeyCode::Char('p'));
    view.seen(now());
    assert_eq!((view.now, view.rates), (now(), Rates::between(&before(), &now())));
}

/// Goal: what went wrong is said until the node answers again; a node that was started anew is
/// shown with what it has done since.
#[test]
fn a_node_may_go_and_come_back() {
    let mut view = view();
    view.say("cannot reach it".to_owned());
    assert!(lines(&screen(&view, 100, 34))[33].ends_with("cannot reach it"));
    view.seen(before());
    assert_eq!(view.note, None);
    assert!(view.rates.groups.iter().all(|&rate| rate == 0), "{:?}", view.rates);
}

/// Goal: `q` leaves, and so does Ctrl-C even while a question is open.
#[test]
fn keys_leave() {
    let mut view = view();
    assert_eq!(press(&mut view, KeyCode::Char('q')), Some(Action::Quit));
    press(&mut view, KeyCode::Char('k'));
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.pressed(interrupt), Some(Action::Quit));
    assert_eq!(press(&mut view, KeyCode::Char('c')), None);
}

/// Goal: what a node refuses, or answers otherwise, is an error in words.
#[test]
fn wrong_answers_are_named() {
    let read = |answers: &str| -> Result<Look> { Look::read(&serde_json::from_str(answers)?) };
    let refused = r#"[{"error":{"code":-32601,"message":"no such method"}}]"#;
    assert_eq!(read(refused).expect_err("refused").to_string(), "no such method");
    for other in ["[]", "{}", "7", r#"[{"result":{"workers":-1}}]"#] {
        let error = read(other).expect_err("another answer");
        assert!(error.to_string().contains("answers otherwise"), "{other}: {error:#}");
    }
}
