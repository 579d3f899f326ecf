use super::super::log::Lack;
use super::super::model::{Limits, Scope, Window};
use super::super::told::{Key, Told};
use super::super::view::Sort;
use super::*;
use crate::model::{Decision, Direction, State};
use jiff::SignedDuration;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

fn at(second: i64) -> Timestamp {
    "2026-11-30T08:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

fn told(source: &str, destination: &str, class: Class, second: i64, count: u64) -> Told {
    let name = |text: &str| Some(text.into());
    let key = Key {
        source: name(source),
        destination: name(destination),
        vendor: name("→ Acme"),
        policy: name("payments/default-deny ingress"),
        class,
        state: State::Dropped,
        decision: Decision::Deny,
        direction: Direction::Egress,
        second: false,
    };
    let (update, sums, replayed) = Default::default();
    let settling = source.starts_with("batch");
    Told {
        key,
        opener: None,
        time: at(second),
        id: None,
        count,
        update,
        sums,
        replayed,
        settling,
        line: (*b"{}").into(),
    }
}

fn model() -> Model {
    let mut model = Model::new(Limits::default());
    for second in 0..30 {
        model.take(told("shop/web", "payments/sts/db:5432", Class::DeniedAttempt, second * 10, 41), at(299));
    }
    for told in [
        told("monitoring/grafana", "payments/sts/db:5432", Class::PolicyNotEnforced, 290, 2),
        told(
            "batch/cj/a-report-generator-of-many-words",
            "api.example.com:443",
            Class::BlockedThoughAllowed,
            200,
            7,
        ),
        told("vendor/日本語の名前", "192.0.2.1:80", Class::Undetermined, 100, 1_234_567),
        told("shop/web", "shop/api:80", Class::Allowed, 299, 90_000),
    ] {
        model.take(told, at(299));
    }
    model
}

struct Setting {
    log: Log,
    view: View,
    letters: Letters,
}

impl Setting {
    fn new() -> Self {
        let mut log = Log { reach: Reach::Live, ..Log::default() };
        log.see("worker-1", at(298));
        log.sums.lines = 12_345;
        Self {
            log,
            view: View::new(By::Source, Window::Five, false, Sort::Weight),
            letters: Letters::Unicode,
        }
    }

    /// What a terminal of this size shows.
    fn drawn(&self, width: u16, height: u16) -> Vec<String> {
        let model = model();
        let scope = Scope {
            window: self.view.window,
            now: at(299),
            path: &self.view.path,
            all: self.view.all,
            picks: &|_| true,
        };
        let mut rows = model.rows(self.view.by, &scope);
        self.view.sort.order(&mut rows, self.view.reverse);
        let scene = Scene {
            source: "/var/log/flowlog",
            now: at(299),
            model: &model,
            log: &self.log,
            view: &self.view,
            rows: &rows,
            flows: &[],
            paused: None,
            details_from: None,
            looks: Looks { colour: false, letters: self.letters },
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| {
                draw(&scene, frame.area(), frame.buffer_mut());
            })
            .unwrap();
        let buffer = terminal.backend().buffer();
        (0..height)
            .map(|y| {
                let mut line = String::new();
                let mut skip = 0;
                for x in 0..width {
                    let symbol = buffer[(x, y)].symbol();
                    if skip == 0 {
                        line.push_str(symbol);
                        skip = symbol.width().max(1);
                    }
                    skip -= 1;
                }
                line.trim_end().to_owned()
            })
            .collect()
    }
}

#[test]
fn eighty_columns_hold_all_that_matters() {
    let drawn = Setting::new().drawn(80, 24);
    let expected = [
        " flowlog top  /var/log/flowlog                            5m · LIVE · 08:04:59Z",
        " NOT ENFORCED 2   DENIED 1,230   BLOCKED 7   UNKNOWN 1.2M   other 90,000",
        " lost 0 · gaps 0 · 1 node · 12,345 lines",
        " 1 source  2 destination  3 pair  4 vendor  5 policy  6 class",
        "  SOURCE (4)             NOT-ENF▼  DENIED  BLOCKED    UNKN    /MIN LAST    TREND",
        "▶ monitoring/grafana            2       0        0       0       2   9s        █",
        "  shop/web                      0   1,230        0       0     246   9s ███▆███▆",
        " ~batch/cj/a-…many-words        0       0        7       0       0   1m      █",
        "  vendor/日本語の名前           0       0        0    1.2M       0   3m   █",
    ];
    assert_eq!(drawn[..9], expected, "{}", drawn.join("\n"));
    assert!(drawn[9..22].iter().all(String::is_empty), "{}", drawn.join("\n"));
    let expected =
        [" monitoring/grafana", " q quit  ? help  Enter open  / filter  s sort  w window  p pause  a other"];
    // A part that does not fit is not there at all.
    assert_eq!(drawn[22..], expected.map(str::trim_end), "{}", drawn.join("\n"));
}

#[test]
fn forty_columns_hold_what_matters_most_and_say_what_is_hidden() {
    let drawn = Setting::new().drawn(40, 10);
    let expected = [
        " flowlog…/flowlog 5m · LIVE · 08:04:59Z",
        " NOT-ENF 2 DENIED 1,230 BLOCKED 7",
        " lost 0 · gaps 0 · 1 node · 12,345 lines",
        " 1 sou 2 des 3 pai 4 ven 5 pol 6 cla",
        "  SOURCE (4) 5 hidden   NOT-ENF▼  DENIED",
        "▶ monitoring/grafana           2       0",
        "  shop/web                     0   1,230",
        " ~batch/cj/a…many-words        0       0",
        " monitoring/grafana",
        " q quit  ? help  Enter open  / filter",
    ];
    assert_eq!(drawn, expected, "{}", drawn.join("\n"));
}

#[test]
fn a_large_screen_has_everything_in_full() {
    let mut setting = Setting::new();
    setting.view.all = true;
    setting.log.lost.add(at(290), 7, at(299));
    setting.log.missing.add(at(290), 3, at(299));
    let drawn = setting.drawn(160, 50);
    let text = drawn.join("\n");
    for part in [
        "batch/cj/a-report-generator-of-many-words",
        "NOT ENFORCED 2 2/min   DENIED 1,230 246/min   BLOCKED 7   UNKNOWN 1.2M   other 90,000 90,000/min",
        "lost 7 · gaps 3 · 1 node",
        "OTHER",
        "TREND",
        "n notices",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("hidden"), "{text}");
}

#[test]
fn where_no_table_fits_it_is_said_what_would_do() {
    let setting = Setting::new();
    let expected = ["2 not enforced", "1,230 denied, 5m", "0 lost", "needs 40x9", "q quit"];
    assert_eq!(setting.drawn(20, 5), expected);
    // However small.
    for (width, height) in [(1, 1), (2, 9), (39, 50), (40, 8), (300, 3), (7, 2)] {
        assert_eq!(setting.drawn(width, height).len(), usize::from(height));
    }
    let mut pages = Setting::new();
    for level in [Level::Flows, Level::Record, Level::Notices, Level::Help, Level::Rows] {
        pages.view.level = level;
        for (width, height) in [(40, 9), (41, 10), (80, 9), (200, 12)] {
            assert!(
                pages.drawn(width, height).last().unwrap().contains("q quit"),
                "{level:?} {width}x{height}"
            );
        }
    }
}

#[test]
fn letters_of_ascii_do_where_there_are_no_others() {
    let mut setting = Setting::new();
    setting.letters = Letters::Ascii;
    setting.view.by = By::Pair;
    let text = setting.drawn(120, 24).join("\n");
    assert!(text.is_ascii(), "{text}");
    for part in ["> monitoring/grafana -> payments/sts/db:5432", "NOT-ENFv", "vendor/\\u{65e5}", "5m - LIVE"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn what_is_missing_is_told_before_anything_else() {
    let mut setting = Setting::new();
    setting.log.see("worker-2", at(10));
    setting.log.see("worker-3", at(290));
    setting.log.node("worker-3").unwrap().stale_since = Some(at(-60));
    setting.log.lost_events.add(at(290), 2, at(299));
    setting.log.sums.refused = 1;
    setting.log.uncaptured.add(at(290), 1, at(299));
    let drawn = setting.drawn(120, 24);
    assert_eq!(
        drawn[2],
        " lost 2 · gaps 0 · 1× without capture · unreadable 1 · 3 nodes · policies stale since 07:59Z: worker-3 · quiet 4m: worker-2"
            .get(..drawn[2].len())
            .unwrap(),
        "{}",
        drawn[2]
    );
    assert!(drawn[2].contains("policies stale since 07:59Z: worker-3"), "{}", drawn[2]);
    setting.view.level = Level::Notices;
    let text = setting.drawn(80, 24).join("\n");
    assert!(
        text.contains("told nothing for 4m") && text.contains("its policies are as of 2026-11-30T07:59:00Z"),
        "{text}"
    );
}

#[test]
fn what_is_missing_is_counted_in_the_window_and_listed_with_it() {
    let mut setting = Setting::new();
    for (second, what) in [
        (-3_000, Lack::Lines(6)),
        (-3_000, Lack::Uncaptured),
        (100, Lack::Lines(2)),
        (250, Lack::Attempts(7)),
    ] {
        setting.log.lack(at(second), what, at(299));
    }
    setting.log.lack(at(90), Lack::Late, at(299));
    setting.log.note(at(-3_000), "gap: n1: 6 lines are missing".to_owned());
    setting.log.note(at(100), "gap: n1: 2 lines are missing".to_owned());
    for (window, header, lists, passes) in [
        (
            Window::Five,
            " lost 7 · gaps 1 · 1 node",
            &["7 attempts lost by the agents, 1 lines missing", "n1: 2 lines", "1 more notices"][..],
            "6 lines",
        ),
        (Window::One, " lost 7 · gaps 0 · 1 node", &["7 attempts lost", "2 more notices"], "2 lines"),
        (
            Window::All,
            " lost 7 · gaps 7 · 1× without capture",
            &["7 lines missing, 1 times without capture", "n1: 6 lines", "n1: 2 lines"],
            "more notices",
        ),
    ] {
        (setting.view.window, setting.view.level) = (window, Level::Notices);
        let drawn = setting.drawn(120, 24);
        let text = drawn.join("\n");
        assert!(drawn[2].starts_with(header), "{window:?}\n{text}");
        for part in lists {
            assert!(text.contains(part), "{window:?} {part}\n{text}");
        }
        assert!(!text.contains(passes) && !text.contains("nothing is missing"), "{window:?}\n{text}");
    }
}
