//! The terminal: taken over, and given back as it was, whatever comes between: an error, a signal, a panic, Ctrl-Z.

use super::view::Key;
use anyhow::Context as _;
use nix::sys::signal::{Signal, raise};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, read};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use std::io::{self, BufWriter, Stdout};
use std::panic;
use std::process;
use std::sync::Once;
use std::thread;

/// What somebody did at the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Key(Key),
    /// It has another size.
    Resized,
    /// To be drawn from scratch.
    Redraw,
    /// Into the background.
    Suspend,
    Quit,
}

/// As a program of Rust ends that panicked.
const PANICKED: i32 = 101;

type Backend = CrosstermBackend<BufWriter<Stdout>>;

/// A terminal that is taken over.
pub(super) struct Screen(Terminal<Backend>);

impl Screen {
    /// Take it over.
    pub(super) fn open() -> anyhow::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |what| {
                give_back();
                before(what);
                // Whichever thread it is: nobody is to draw on a terminal that was given back.
                process::exit(PANICKED);
            }));
        });
        take_over()?;
        let terminal = Terminal::new(backend()).inspect_err(|_| give_back());
        Ok(Self(terminal.context("ask the terminal for its size")?))
    }

    /// Draw; what differs from before is written.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut ratatui::Frame<'_>)) -> anyhow::Result<()> {
        self.0.draw(draw).context("draw on the terminal").map(drop)
    }

    /// From scratch the next time.
    pub(super) fn clear(&mut self) -> anyhow::Result<()> {
        // Clearing it as it is would ask where its cursor is, and what waits for keys would take the answer.
        let told = || "clear the terminal";
        execute!(io::stdout(), Clear(ClearType::All)).with_context(told)?;
        self.0 = Terminal::new(backend()).with_context(told)?;
        Ok(())
    }

    /// Stop, as the shell has it, until it has this go on.
    pub(super) fn suspend(&mut self) -> anyhow::Result<()> {
        give_back();
        raise(Signal::SIGTSTP).context("go into the background")?;
        take_over()?;
        self.clear()
    }
}

fn backend() -> Backend {
    CrosstermBackend::new(BufWriter::with_capacity(1 << 14, io::stdout()))
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take_over() -> anyhow::Result<()> {
    enable_raw_mode()
        .context("take keys from the terminal (without one, `--batch` prints the table once)")?;
    execute!(io::stdout(), EnterAlternateScreen)
        .inspect_err(|_| give_back())
        .context("take over the terminal")
}

/// Nothing can be done where that fails: the terminal may be gone.
pub(super) fn give_back() {
    let _ = disable_raw_mode();
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
}

/// Tell what is done at the terminal until nobody listens; also where standard input is a log.
pub(super) fn listen(mut tell: impl FnMut(Done) -> bool + Send + 'static) -> anyhow::Result<()> {
    let listening = move || {
        loop {
            let done = match read() {
                Ok(event) => done(&event),
                // The terminal is gone.
                Err(_) => Some(Done::Quit),
            };
            if let Some(done) = done
                && (!tell(done) || done == Done::Quit)
            {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("flowlog-keys".to_owned()).spawn(listening);
    thread.context("start what waits for keys").map(drop)
}

fn done(event: &Event) -> Option<Done> {
    match event {
        Event::Resize(..) => Some(Done::Resized),
        Event::Key(KeyEvent { kind: KeyEventKind::Release, .. }) => None,
        Event::Key(KeyEvent { code, modifiers, .. }) if modifiers.contains(KeyModifiers::CONTROL) => {
            match code {
                KeyCode::Char('c' | 'd') => Some(Done::Quit),
                KeyCode::Char('z') => Some(Done::Suspend),
                KeyCode::Char('l') => Some(Done::Redraw),
                KeyCode::Char('u') => Some(Done::Key(Key::Clear)),
                KeyCode::Char('f') => Some(Done::Key(Key::PageDown)),
                KeyCode::Char('b') => Some(Done::Key(Key::PageUp)),
                KeyCode::Char('h') => Some(Done::Key(Key::Backspace)),
                _ => None,
            }
        }
        Event::Key(KeyEvent { code, .. }) => key(*code).map(Done::Key),
        _ => None,
    }
}

fn key(code: KeyCode) -> Option<Key> {
    Some(match code {
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Set in the process that is to panic.
    const PANICS: &str = "FLOWLOG_TEST_PANICS";

    #[test]
    fn a_panic_of_any_thread_gives_the_terminal_back() {
        if std::env::var_os(PANICS).is_some() {
            let _screen = Screen::open().unwrap();
            thread::spawn(|| panic!("as it may be")).join().unwrap_err();
            unreachable!("the panic ends it");
        }
        let name = "commands::top::terminal::tests::a_panic_of_any_thread_gives_the_terminal_back";
        let program = std::env::current_exe().unwrap();
        let line = format!("'{}' --exact {name} --nocapture; echo code $?; stty -a", program.display());
        let output =
            Command::new("script").args(["-qec", &line, "/dev/null"]).env(PANICS, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let (taken, rest) = text.split_once("\u{1b}[?1049h").unwrap_or_else(|| panic!("{text:?}"));
        let (_, given) = rest.split_once("\u{1b}[?1049l").unwrap_or_else(|| panic!("{rest:?}"));
        assert!(!given.contains("the panic ends it"), "{text:?}");
        assert!(!taken.contains("as it may be") && given.contains("as it may be"), "{text:?}");
        let words: Vec<&str> = given.split_whitespace().collect();
        assert!(
            given.contains("code 101") && words.contains(&"icanon") && words.contains(&"echo"),
            "{text:?}"
        );
    }
}
