use super::super::choice::ChoiceArgs;
use super::super::show::{Form, Look};
use super::*;
use crate::commands::logs::Lines as _;
use proptest::prelude::*;

/// Blocks of lines, as a log gives them.
struct Script(std::collections::VecDeque<Option<String>>);

impl Source for Script {
    fn step(&mut self, into: &mut Sifting<'_>) -> Step {
        match self.0.pop_front() {
            Some(Some(block)) => {
                into.block(block.as_bytes());
                Step::Read
            }
            Some(None) => Step::Nothing,
            None => Step::End,
        }
    }
}

fn line(node: usize, seq: usize, second: i64) -> String {
    let time = Timestamp::from_second(1_800_000_000 + second).unwrap();
    format!(
        r#"{{"v":1,"seq":{seq},"kind":"agent","time":"{time}","node":"n{node}","run":"r","agent":{{"event":"config"}}}}"#
    ) + "\n"
}

fn sieve() -> Sieve {
    let look = Look { form: Form::Json, colour: false, terminal: false };
    Sieve::new(ChoiceArgs::default().choice().unwrap(), Box::new(look))
}

/// Seconds of all that is shown, by node.
fn run(mut merge: Merge, sieve: &mut Sieve) -> Vec<(Timestamp, String)> {
    let (mut items, mut shown) = (Vec::new(), Vec::new());
    for _ in 0..100_000 {
        match merge.next(sieve, &mut items) {
            Next::End => return shown,
            Next::Wait(_) => merge.wake(),
            _ => {}
        }
        shown.extend(items.drain(..).map(|item| {
            let super::super::show::Out::Line(line) = item.out else { panic!("no line") };
            (item.time, String::from_utf8(line).unwrap())
        }));
    }
    panic!("it has no end");
}

fn blocks(node: usize, seconds: &[i64], each: usize) -> Script {
    let lines: Vec<String> = seconds.iter().zip(1..).map(|(second, seq)| line(node, seq, *second)).collect();
    Script(lines.chunks(each).flat_map(|block| [Some(block.concat()), None]).collect())
}

proptest! {
    #[test]
    fn what_nodes_wrote_in_order_comes_in_order(
        nodes in prop::collection::vec(prop::collection::vec(0..1_000_i64, 0..30), 1..6), each in 1..5_usize,
    ) {
        let mut merge = Merge::new(false);
        let mut expected = Vec::new();
        for (node, seconds) in nodes.iter().enumerate() {
            let mut seconds = seconds.clone();
            seconds.sort_unstable();
            expected.extend(seconds.iter().copied());
            merge.add(Lane::new(Box::new(blocks(node, &seconds, each)), Timestamp::MIN));
        }
        expected.sort_unstable();
        let shown = run(merge, &mut sieve());
        let times: Vec<i64> = shown.iter().map(|(time, _)| time.as_second() - 1_800_000_000).collect();
        prop_assert_eq!(times, expected);
    }

    #[test]
    fn each_node_keeps_its_own_order_and_nothing_is_lost(
        nodes in prop::collection::vec(prop::collection::vec(0..1_000_i64, 0..30), 1..6),
        each in 1..5_usize, follows in any::<bool>(),
    ) {
        let mut merge = Merge::new(follows);
        for (node, seconds) in nodes.iter().enumerate() {
            merge.add(Lane::new(Box::new(blocks(node, seconds, each)), Timestamp::MIN));
        }
        let shown = run(merge, &mut sieve());
        for (node, seconds) in nodes.iter().enumerate() {
            let of_it: Vec<String> = seconds.iter().zip(1..).map(|(second, seq)| line(node, seq, *second)).collect();
            let name = format!("\"n{node}\"");
            let found: Vec<&str> = shown.iter().map(|(_, line)| &**line).filter(|line| line.contains(&name)).collect();
            prop_assert_eq!(found, of_it);
        }
    }
}

#[test]
fn only_what_may_come_before_is_read() {
    /// It must not be read.
    struct Far;
    impl Source for Far {
        fn step(&mut self, _: &mut Sifting<'_>) -> Step {
            panic!("read though nothing in it comes first");
        }
    }
    let (mut merge, mut sieve, mut items) = (Merge::new(false), sieve(), Vec::new());
    merge.add(Lane::new(Box::new(Far), Timestamp::from_second(1_900_000_000).unwrap()));
    merge.add(Lane::new(Box::new(blocks(0, &[1, 2], 1)), Timestamp::MIN));
    while items.is_empty() {
        merge.next(&mut sieve, &mut items);
        merge.wake();
    }
    assert_eq!(items.len(), 1);
}

/// A log that is written to all the time.
struct Busy(Box<dyn FnMut() -> String + Send>, bool);

impl Source for Busy {
    fn step(&mut self, into: &mut Sifting<'_>) -> Step {
        self.1 = !self.1;
        if !self.1 {
            return Step::Nothing;
        }
        into.block((self.0)().as_bytes());
        Step::Read
    }
}

#[test]
fn a_node_whose_clock_is_wrong_does_not_silence_the_others() {
    for (name, behind) in [("an hour behind", 3_600), ("some seconds behind", 3), ("an hour ahead", -3_600)] {
        let now = Timestamp::now().as_second() - 1_800_000_000;
        let mut merge = Merge::new(true);
        for (node, offset) in [(0, behind), (1, behind + 1)] {
            let mut seq = 0;
            let written = move || {
                seq += 1;
                line(node, seq, Timestamp::now().as_second() - 1_800_000_000 - offset)
            };
            merge.add(Lane::new(Box::new(Busy(Box::new(written), false)), Timestamp::MIN));
        }
        merge.add(Lane::new(Box::new(blocks(2, &[now, now], 1)), Timestamp::MIN));
        let (mut sieve, mut items) = (sieve(), Vec::new());
        let (begun, mut shown) = (Instant::now(), 0);
        while shown < 2 {
            assert!(begun.elapsed() < Duration::from_secs(5), "{name}: {shown} of 2 were shown");
            if matches!(merge.next(&mut sieve, &mut items), Next::Wait(_)) {
                merge.wake();
            }
            let lines = items.drain(..).filter_map(|item| match item.out {
                super::super::show::Out::Line(line) => String::from_utf8(line).ok(),
                _ => None,
            });
            shown += lines.filter(|line| line.contains("\"n2\"")).count();
        }
    }
}

#[test]
fn what_is_held_is_given_at_the_end_in_order() {
    let mut merge = Merge::new(true);
    let now = Timestamp::now().as_second() - 1_800_000_000;
    for (node, seconds) in [(0, [now - 3, now]), (1, [now - 2, now - 1])] {
        merge.add(Lane::new(Box::new(blocks(node, &seconds, 2)), Timestamp::MIN));
    }
    // It has not told anything yet, and holds up the others.
    merge.add(Lane::new(Box::new(Script([None, None].into())), Timestamp::MIN));
    let (mut sieve, mut items) = (sieve(), Vec::new());
    while !matches!(merge.next(&mut sieve, &mut items), Next::Wait(_)) {}
    assert!(items.is_empty());
    merge.rest(&mut items);
    let times: Vec<i64> = items.iter().map(|item| item.time.as_second() - 1_800_000_000 - now).collect();
    assert_eq!(times, [-3, -2, -1, 0]);
}
