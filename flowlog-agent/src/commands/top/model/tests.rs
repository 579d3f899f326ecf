use super::*;
use jiff::SignedDuration;
use proptest::prelude::*;
use std::collections::BTreeMap;

const EIGHT: i64 = 1_796_025_600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(EIGHT).unwrap() + SignedDuration::from_secs(second)
}

fn told(source: &str, destination: &str, class: Class, second: i64, count: u64) -> Told {
    let name = |text: &str| Some(text.into());
    let key = Key {
        source: name(source),
        destination: name(destination),
        vendor: name("(no vendor known)"),
        policy: name("p"),
        class,
        state: State::Unknown,
        decision: Decision::Unknown,
        direction: Direction::Egress,
        second: false,
    };
    let (update, sums, replayed, settling) = Default::default();
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

fn rows(model: &Model, by: By, window: Window, now: i64) -> Vec<(String, [u64; 5])> {
    let scope = Scope { window, now: at(now), path: &[], all: true, picks: &|_| true };
    let mut rows: Vec<_> = model.rows(by, &scope).iter().map(|row| (row.key.text(), row.weight())).collect();
    rows.sort();
    rows
}

fn expect(rows: &[(&str, [u64; 5])]) -> Vec<(String, [u64; 5])> {
    rows.iter().map(|(name, counts)| ((*name).to_owned(), *counts)).collect()
}

#[test]
fn attempts_are_counted_by_every_name_in_every_window() {
    let mut model = Model::default();
    for told in [
        told("web", "db", Class::DeniedAttempt, 0, 12),
        told("web", "db", Class::PolicyNotEnforced, 290, 1),
        told("job", "db", Class::BlockedUnexplained, 700, 2),
        told("job", "api", Class::BlockedThoughAllowed, 880, 3),
        told("job", "api", Class::Allowed, 890, 4),
        told("old", "api", Class::Undetermined, 899, 5),
    ] {
        model.take(told, at(899));
    }
    for (name, by, window, expected) in [
        (
            "the last minute",
            By::Source,
            Window::One,
            &[("job", [0, 0, 3, 0, 4]), ("old", [0, 0, 0, 5, 0])][..],
        ),
        ("five minutes", By::Destination, Window::Five, &[("api", [0, 0, 3, 5, 4]), ("db", [0, 0, 2, 0, 0])]),
        (
            "fifteen",
            By::Source,
            Window::Fifteen,
            &[("job", [0, 0, 5, 0, 4]), ("old", [0, 0, 0, 5, 0]), ("web", [1, 12, 0, 0, 0])],
        ),
        (
            "pairs",
            By::Pair,
            Window::Five,
            &[("job → api", [0, 0, 3, 0, 4]), ("job → db", [0, 0, 2, 0, 0]), ("old → api", [0, 0, 0, 5, 0])],
        ),
        ("policies", By::Policy, Window::All, &[("p", [1, 12, 5, 5, 4])]),
        (
            "classes",
            By::Class,
            Window::One,
            &[
                ("allowed", [0, 0, 0, 0, 4]),
                ("blocked_though_allowed", [0, 0, 3, 0, 0]),
                ("undetermined", [0, 0, 0, 5, 0]),
            ],
        ),
    ] {
        assert_eq!(rows(&model, by, window, 899), expect(expected), "{name}");
    }
    // Time goes on, and nothing comes.
    assert_eq!(rows(&model, By::Source, Window::Five, 1_200), []);
    assert_eq!(rows(&model, By::Source, Window::All, 9_000).len(), 3);
    let path = [Step { by: By::Source, key: RowKey(Some("job".into()), None) }];
    let scope = Scope { window: Window::All, now: at(899), path: &path, all: false, picks: &|_| true };
    let inside: Vec<String> = model.rows(By::Destination, &scope).iter().map(|row| row.key.text()).collect();
    assert_eq!((inside.len(), model.lines(&scope).len()), (2, 2), "{inside:?}");
}

#[test]
fn an_update_moves_its_attempt_and_is_none() {
    let mut model = Model::default();
    let mut first = told("web", "db", Class::DeniedAttempt, 10, 3);
    first.id = Some(7);
    let mut update = told("web", "db", Class::PolicyNotEnforced, 20, 0);
    (update.id, update.update) = (Some(7), true);
    model.take(first.clone(), at(20));
    model.take(update.clone(), at(20));
    model.take(update.clone(), at(21));
    assert_eq!(rows(&model, By::Source, Window::One, 21), expect(&[("web", [1, 2, 0, 0, 0])]));
    // It is counted when it was, not when that was told.
    assert_eq!(model.of_class(Class::PolicyNotEnforced, Window::One, at(68)).count, 1);
    assert_eq!(model.of_class(Class::PolicyNotEnforced, Window::One, at(71)).count, 0);
    // Of an attempt that was not read: it is there to be seen, and counts nothing.
    update.id = Some(8);
    model.take(update, at(22));
    assert_eq!(
        (model.of_class(Class::PolicyNotEnforced, Window::One, at(22)).count, model.unmatched),
        (1, 1)
    );
    let mut sums = told("web", "other", Class::Allowed, 22, 0);
    (sums.id, sums.update, sums.sums) = (Some(9), true, true);
    model.take(sums, at(22));
    assert_eq!((rows(&model, By::Destination, Window::All, 22).len(), model.unmatched), (1, 1));
}

#[test]
fn what_is_told_again_counts_once() {
    let mut model = Model::default();
    let mut line = told("web", "db", Class::DeniedAttempt, 10, 3);
    line.id = Some(7);
    model.take(line.clone(), at(20));
    line.replayed = true;
    model.take(line.clone(), at(20));
    assert_eq!(
        (rows(&model, By::Source, Window::One, 20), model.replayed),
        (expect(&[("web", [0, 3, 0, 0, 0])]), 0)
    );
    // Nobody can tell of this one: it is counted, and that is said.
    line.id = Some(8);
    model.take(line, at(20));
    assert_eq!(
        (rows(&model, By::Source, Window::One, 20), model.replayed),
        (expect(&[("web", [0, 6, 0, 0, 0])]), 3)
    );
}

#[test]
fn a_scan_ends_in_others_and_its_source_stays() {
    let limits = Limits { names: 16, edges: 64, lines: 100 };
    let mut model = Model::new(limits);
    for port in 0..1_000 {
        model.take(told("scanner", &format!("db:{port}"), Class::DeniedAttempt, 1, 1), at(1));
    }
    model.take(told("web", "db:5", Class::PolicyNotEnforced, 1, 1), at(1));
    assert_eq!(
        rows(&model, By::Source, Window::One, 1),
        expect(&[("scanner", [0, 1_000, 0, 0, 0]), ("web", [1, 0, 0, 0, 0])])
    );
    let destinations = rows(&model, By::Destination, Window::One, 1);
    assert!(destinations.contains(&("(others)".to_owned(), [0, 984, 0, 0, 0])), "{destinations:?}");
    assert!(model.edges.len() <= 18 && model.lines <= 100, "{} {}", model.edges.len(), model.lines);
    // What is idle gives way, and stays counted; what is not enforced has room of its own.
    model.take(told("scanner", "new", Class::DeniedAttempt, 2_000, 1), at(2_000));
    assert_eq!(
        rows(&model, By::Destination, Window::All, 2_000),
        expect(&[("(others)", [0, 1_000, 0, 0, 0]), ("db:5", [1, 0, 0, 0, 0]), ("new", [0, 1, 0, 0, 0])])
    );
}

#[test]
fn what_is_ordinary_displaces_nothing_that_is_news() {
    let mut model = Model::new(Limits { names: 16, edges: 64, lines: 100 });
    for client in 0..300 {
        model.take(told(&format!("client-{client}"), "web", Class::Allowed, 1, 1), at(1));
    }
    for client in 0..300 {
        model.take(told(&format!("denied-{client}"), "web", Class::DeniedAttempt, 1, 1), at(1));
    }
    model.take(told("intruder", "db", Class::PolicyNotEnforced, 2, 1), at(2));
    let rows = rows(&model, By::Source, Window::One, 2);
    assert!(rows.contains(&("intruder".to_owned(), [1, 0, 0, 0, 0])), "{rows:?}");
    let denied = rows.iter().filter(|(name, _)| name.starts_with("denied-")).count();
    assert_eq!(denied, 16, "{rows:?}");
    // What is ordinary has half of the room.
    assert_eq!(rows.iter().filter(|(name, _)| name.starts_with("client-")).count(), 8, "{rows:?}");
}

#[test]
fn in_a_log_that_is_over_nothing_is_idle_beside_its_end() {
    let mut model = Model::new(Limits { names: 16, edges: 64, lines: 100 });
    let week = 604_800;
    for second in 0..40 {
        model.take(told(&format!("s{second}"), "db", Class::DeniedAttempt, second, 1), at(week));
    }
    let names = rows(&model, By::Source, Window::All, week);
    assert!(names.contains(&("s0".to_owned(), [0, 1, 0, 0, 0])), "{names:?}");
    assert!(names.contains(&("(others)".to_owned(), [0, 24, 0, 0, 0])), "{names:?}");
    // What was told of longest ago gives way where the log goes on for long.
    model.take(told("later", "db", Class::DeniedAttempt, 2_000, 1), at(week));
    assert!(rows(&model, By::Source, Window::All, week).contains(&("later".to_owned(), [0, 1, 0, 0, 0])));
}

/// As the listener's node tells it.
fn seen_there(mut told: Told, second: bool) -> Told {
    (told.key.direction, told.key.second) = (Direction::Ingress, second);
    told
}

#[test]
fn what_both_ends_nodes_tell_counts_once() {
    for (name, records, expected) in [
        (
            "one connection, two views",
            vec![
                told("web", "db", Class::PolicyNotEnforced, 1, 1),
                seen_there(told("web", "db", Class::PolicyNotEnforced, 2, 1), true),
            ],
            [1, 0, 0, 0, 0],
        ),
        (
            "folded each in its own way, the listener's first",
            vec![
                seen_there(told("web", "db", Class::DeniedAttempt, 1, 5), true),
                told("web", "db", Class::DeniedAttempt, 2, 1),
                told("web", "db", Class::DeniedAttempt, 3, 6),
            ],
            [0, 7, 0, 0, 0],
        ),
        (
            "the opener's node lost some",
            vec![
                told("web", "db", Class::DeniedAttempt, 2, 1),
                seen_there(told("web", "db", Class::DeniedAttempt, 1, 5), true),
            ],
            [0, 5, 0, 0, 0],
        ),
        (
            "nobody reads the opener's log",
            vec![
                told("web", "db", Class::DeniedAttempt, 2, 3),
                seen_there(told("web", "db", Class::DeniedAttempt, 1, 4), false),
            ],
            [0, 7, 0, 0, 0],
        ),
        // That it got through, the listener's node alone can tell.
        (
            "another class",
            vec![
                told("web", "db", Class::DeniedAttempt, 2, 1),
                seen_there(told("web", "db", Class::PolicyNotEnforced, 2, 1), true),
            ],
            [1, 1, 0, 0, 0],
        ),
    ] {
        let mut model = Model::default();
        records.into_iter().for_each(|told| model.take(told, at(5)));
        for window in [Window::One, Window::All] {
            assert_eq!(rows(&model, By::Source, window, 5), expect(&[("web", expected)]), "{name}");
            let of = |class| model.of_class(class, window, at(5)).count;
            let sums = [of(Class::PolicyNotEnforced), of(Class::DeniedAttempt)];
            assert_eq!(sums, expected[..2], "{name}");
        }
    }
}

#[test]
fn records_of_what_is_loud_do_not_displace_those_of_what_is_quiet() {
    let mut model = Model::new(Limits { lines: 60, ..Limits::default() });
    model.take(told("quiet", "db", Class::PolicyNotEnforced, 1, 1), at(1));
    for second in 2..400 {
        model.take(
            told(if second % 2 == 0 { "loud" } else { "louder" }, "db", Class::DeniedAttempt, second, 1),
            at(second),
        );
    }
    let scope = Scope { window: Window::Fifteen, now: at(400), path: &[], all: false, picks: &|_| true };
    let lines = model.lines(&scope);
    assert!(
        lines.len() <= 60 + model.edges.len() && lines.last().unwrap().0 == at(1) && lines[0].0 == at(399),
        "{}",
        lines.len()
    );
}

/// Each kind keeps its last record, so that room comes of the others alone: where there was none, each record sorted all kinds.
#[test]
fn records_are_kept_where_there_are_more_kinds_than_records() {
    let mut model = Model::new(Limits { lines: 60, ..Limits::default() });
    for second in 0..1_000 {
        model.take(told("web", &format!("db:{}", second % 200), Class::DeniedAttempt, second, 1), at(second));
        let most = model.edges.len() + 60;
        assert!((second < 260 || model.lines > model.edges.len() + 40) && model.lines <= most, "{second}");
    }
}

/// A record, as random as it may come.
#[derive(Clone, Debug)]
struct Random {
    told: Told,
    now: i64,
}

fn random() -> impl Strategy<Value = Vec<Random>> {
    let one = (
        0..12_u8,
        0..20_u8,
        0..9_usize,
        -40..5_i64,
        0..40_u64,
        prop::option::of(0..30_u128),
        0..8_u8,
        0..40_i64,
    );
    prop::collection::vec(one, 1..200).prop_map(|all| {
        let mut now = 0;
        let mut records = Vec::new();
        for (source, destination, class, late, count, id, how, step) in all {
            now += step;
            let class = Class::ALL[class];
            let mut told = told(&format!("s{source}"), &format!("d{destination}"), class, now + late, count);
            (told.id, told.update, told.replayed) = (id, how < 2, how == 2);
            if told.update {
                told.count = 0;
            }
            records.push(Random { told, now });
        }
        records
    })
}

/// What an attempt became, and when it was: slow, and obvious.
fn oracle(records: &[Random], window: Option<i64>) -> BTreeMap<Class, u64> {
    // Class, second, attempts.
    let mut counted: Vec<(Class, i64, u64)> = Vec::new();
    let mut ids: BTreeMap<u128, (usize, i64)> = BTreeMap::new();
    let five = |time: Timestamp| time.as_second().div_euclid(5);
    for Random { told, now } in records {
        let known = told.id.and_then(|id| ids.get(&id).copied());
        if told.update {
            if let (Some((place, time)), Some(id)) = (known, told.id) {
                counted[place].2 -= 1;
                counted.push((told.key.class, time, 1));
                ids.insert(id, (counted.len() - 1, time));
            }
            continue;
        }
        if told.replayed && known.is_some() {
            continue;
        }
        let time = five(told.time).min(five(at(*now)) + 12);
        counted.push((told.key.class, time, told.count));
        if let Some(id) = told.id.filter(|_| told.count > 0) {
            ids.insert(id, (counted.len() - 1, time));
        }
    }
    let now = five(at(records.last().unwrap().now));
    let mut sums = BTreeMap::new();
    for (class, time, count) in counted {
        if window.is_none_or(|seconds| time > now - seconds / 5) && count > 0 {
            *sums.entry(class).or_default() += count;
        }
    }
    sums
}

proptest! {
    #[test]
    fn rows_and_others_are_all_there_is(records in random(), names in 2..30_usize, edges in 4..200_usize) {
        let mut model = Model::new(Limits { names, edges, lines: 40 });
        for Random { told, now } in &records {
            model.take(told.clone(), at(*now));
        }
        let now = at(records.last().unwrap().now);
        for window in [Window::One, Window::Five, Window::Fifteen, Window::All] {
            let expected = oracle(&records, window.seconds());
            for class in Class::ALL {
                let count = model.of_class(class, window, now).count;
                prop_assert_eq!(count, expected.get(&class).copied().unwrap_or_default(), "{:?} {:?}", class, window);
            }
            let scope = Scope { window, now, path: &[], all: true, picks: &|_| true };
            for by in By::ALL {
                let rows = model.rows(by, &scope);
                let mut sums = [0_u64; 5];
                rows.iter().for_each(|row| sums.iter_mut().zip(row.weight()).for_each(|(sum, more)| *sum += more));
                prop_assert_eq!(sums.iter().sum::<u64>(), expected.values().sum::<u64>(), "{:?} {:?}", by, window);
            }
        }
        // A rank has its share, a quarter more for sources, and others of each class.
        let most = |edges: usize| edges / 4 * 5 + edges % 4;
        let most = most(edges) + 2 * most(edges.div_ceil(2)) + 36;
        prop_assert!(model.edges.len() <= most, "{} {}", model.edges.len(), edges);
        prop_assert_eq!(model.lines, model.edges.iter().map(|edge| edge.lines.len()).sum::<usize>());
    }
}
