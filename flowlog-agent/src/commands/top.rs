//! `flowlog top`: what is happening, on a screen: denied and not enforced by who opens, who listens, vendor, policy; down to
//! the flows. Counting is pure (`model`), so is what is drawn (`screen`); a thread reads, another waits for keys.

mod app;
mod batch;
mod filter;
mod log;
mod model;
mod reader;
mod screen;
mod terminal;
mod text;
mod told;
mod view;

use super::observing::{Choice, ChoiceArgs, InputArgs, Interrupt, Reading};
use super::{Called, answer};
use anyhow::{Context as _, bail};
use app::App;
use jiff::{SignedDuration, Timestamp};
use model::{By, Window};
use reader::{Manner, News};
use screen::Looks;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use terminal::{Done, Screen};
use text::Letters;
use view::{Sort, View};

/// A picture stays so long at least, but where a key was pressed.
const FRAME: Duration = Duration::from_millis(250);

/// Ages on the screen are told anew so often.
const TICK: Duration = Duration::from_secs(1);

/// What came is counted for so long before keys are looked after again.
const TURN: Duration = Duration::from_millis(30);

/// Bunches of records that wait to be counted; reading waits where there are more.
const WAITING: usize = 8;

/// How far back a log is read at the start.
const BEFORE: SignedDuration = SignedDuration::from_mins(15);

/// Arguments of `flowlog top`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    inputs: InputArgs,
    /// Print the table once, as text, and end: for scripts and cron.
    #[arg(short, long)]
    batch: bool,
    /// What rows are of.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = By::Source)]
    by: By,
    /// How far back attempts are counted; with `all` a log is read from its beginning, else from 15 minutes ago.
    #[arg(short, long, value_name = "WINDOW", value_enum, default_value_t = Window::Five)]
    window: Window,
    /// What rows are sorted by: what matters most first, or a column.
    #[arg(long, value_name = "COLUMN", value_enum, default_value_t = Sort::Weight)]
    sort: Sort,
    /// Rows of what is as it should be, too.
    #[arg(short, long)]
    all: bool,
    /// With --batch: no more rows than that.
    #[arg(long, value_name = "NUMBER", requires = "batch")]
    rows: Option<usize>,
    #[command(flatten)]
    choice: ChoiceArgs,
}

/// What comes to the screen.
enum Event {
    News(News),
    /// Reading has ended, or could not go on.
    Read(anyhow::Result<bool>),
    Done(Done),
}

/// Run the subcommand.
pub(super) fn run(args: &Args, called: Called) -> anyhow::Result<ExitCode> {
    let started = Timestamp::now();
    let asked = match args.window {
        Window::All => args.choice.clone(),
        Window::One | Window::Five | Window::Fifteen => args.choice.clone().beginning(started, BEFORE),
    };
    let choice = asked.choice()?;
    let until = choice.until();
    let follows = !args.batch && until.is_none_or(|until| until > started);
    if !args.batch {
        need_screen()?;
    }
    let mut troubles = Vec::new();
    let mut tell = |what: &str| troubles.push(what.to_owned());
    let reading = args.inputs.open("top", called, (follows, choice.since()), &mut tell)?;
    // Where something is asked for, all of it is read.
    let is_short = !args.all && choice.is_of_time_alone();
    let whole_from = is_short.then(|| written(started));
    let manner = Manner { whole_from, follows };
    let view = View::new(args.by, args.window, args.all, args.sort);
    let details_from = is_short.then_some(started);
    let mut app = App::new(args.inputs.name(called), view, details_from, looks());
    troubles.into_iter().for_each(|what| app.trouble(what, started));
    // What is now, where all is over by then.
    let now = move || until.map_or_else(Timestamp::now, |until| until.min(Timestamp::now()));
    match args.batch {
        true => print(app, args.rows, (reading, choice, manner), &now),
        false => watch(app, (reading, choice, manner), &now),
    }
}

/// As records write it.
fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

/// A screen needs a terminal that can show one.
fn need_screen() -> anyhow::Result<()> {
    if !std::io::stdout().is_terminal() {
        bail!("standard output is no terminal: `flowlog top --batch` prints the table once, as text");
    }
    match std::env::var("TERM") {
        Ok(term) if term != "dumb" && !term.is_empty() => Ok(()),
        _ => bail!(
            "the terminal cannot show a screen (TERM is dumb or not set): `flowlog top --batch` prints the table once, as text"
        ),
    }
}

fn looks() -> Looks {
    let colour = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let is_utf8 = locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    });
    Looks { colour, letters: if is_utf8 { Letters::Unicode } else { Letters::Ascii } }
}

/// Read all of it, and print.
fn print(
    mut app: App,
    rows: Option<usize>,
    (reading, choice, manner): (Reading, Choice, Manner),
    now: &dyn Fn() -> Timestamp,
) -> anyhow::Result<ExitCode> {
    let mut troubles = Vec::new();
    let whole = reader::read(reading, choice, manner, |news| {
        match news {
            News::Batch(batch) => app.take(*batch, now()),
            News::Trouble(what) => troubles.push(what),
        }
        true
    })?;
    let table = app.table(rows, now());
    troubles.iter().for_each(|what| super::source::tell(&crate::report::shown::line(what)));
    if app.is_of_another_time(now()) {
        super::source::tell(
            "nothing was written in this window: --window all counts all of a log, --until TIME ends it earlier",
        );
    }
    let code = answer::print(&table);
    Ok(if whole { code } else { ExitCode::from(2) })
}

/// Show it until somebody has seen enough.
fn watch(
    mut app: App,
    (reading, choice, manner): (Reading, Choice, Manner),
    now: &dyn Fn() -> Timestamp,
) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::hold(true, terminal::give_back)?;
    let (tell, events) = sync_channel(WAITING);
    let mut screen = Screen::open()?;
    start(tell.clone(), reading, choice, manner)?;
    terminal::listen(move |done| tell.send(Event::Done(done)).is_ok())?;
    show(&mut app, &mut screen, &events, &interrupt, now)?;
    drop(screen);
    match app.log.failed {
        Some(what) => bail!("{what}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn start(tell: SyncSender<Event>, reading: Reading, choice: Choice, manner: Manner) -> anyhow::Result<()> {
    let read = move || {
        let read = reader::read(reading, choice, manner, |news| tell.send(Event::News(news)).is_ok());
        // Nobody listens who has gone.
        let _ = tell.send(Event::Read(read));
    };
    let thread = thread::Builder::new().name("flowlog-reader".to_owned()).spawn(read);
    thread.context("start what reads the log").map(drop)
}

fn show(
    app: &mut App,
    screen: &mut Screen,
    events: &Receiver<Event>,
    interrupt: &Interrupt,
    now: &dyn Fn() -> Timestamp,
) -> anyhow::Result<()> {
    let (mut drawn, mut dirty, mut pressed) = (Instant::now(), true, true);
    while !interrupt.came() {
        if pressed || dirty && drawn.elapsed() >= FRAME || drawn.elapsed() >= TICK {
            screen.draw(|frame| {
                let area = frame.area();
                app.draw(area, frame.buffer_mut(), now());
            })?;
            (drawn, dirty, pressed) = (Instant::now(), false, false);
        }
        let wait = if dirty { FRAME.saturating_sub(drawn.elapsed()) } else { FRAME };
        let mut next = match events.recv_timeout(wait) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let turn = Instant::now();
        while let Some(event) = next {
            match event {
                Event::News(News::Batch(batch)) => app.take(*batch, now()),
                Event::News(News::Trouble(what)) => app.trouble(what, now()),
                Event::Read(Ok(_)) => {}
                Event::Read(Err(error)) => app.fail(super::told(&error)),
                Event::Done(Done::Quit) => return Ok(()),
                Event::Done(Done::Suspend) => {
                    screen.suspend()?;
                    pressed = true;
                }
                Event::Done(Done::Redraw) => {
                    screen.clear()?;
                    pressed = true;
                }
                Event::Done(Done::Resized) => pressed = true,
                Event::Done(Done::Key(key)) => {
                    if app.press(key, now()) {
                        return Ok(());
                    }
                    pressed = true;
                    // The next key is about what this one did.
                    break;
                }
            }
            dirty = true;
            next = if turn.elapsed() < TURN { events.try_recv().ok() } else { None };
        }
    }
    Ok(())
}
