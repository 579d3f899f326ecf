use super::*;
use crate::model::{Class, Loss, LossCause, LossStage};
use crate::record::{Agent, AgentEvent, Content, Gap, Labelling, Run};
use jiff::Timestamp;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

pub(in crate::sinks) const LONG: Duration = Duration::from_secs(20);
const SMALL: QueueLimits = QueueLimits { lines: 80, bytes: 1 << 20 };

/// A fresh destination, and what reads back all that was written to it once the writer has ended.
pub(in crate::sinks) struct Fixture {
    pub(in crate::sinks) output: Box<dyn Output>,
    /// Lines go in frames, whose bytes are counted, too.
    pub(in crate::sinks) framed: bool,
    pub(in crate::sinks) read_back: Box<dyn FnOnce() -> String>,
}

pub(in crate::sinks) fn encoder() -> Encoder {
    let run = Run { node: "worker-1".into(), cluster: None, id: "7f3a".into() };
    Encoder::new(run, Labelling::default())
}

fn time() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A line that tells its own number as a reason, so that order and gaps can be seen.
pub(in crate::sinks) fn gap(number: usize) -> Line {
    let gap = Gap { from: time(), to: time(), reason: format!("gap {number}") };
    encoder().agent(&Agent { time: time(), event: AgentEvent::Gap(gap) }).unwrap()
}

pub(in crate::sinks) fn flow(class: Class, count: u64) -> Line {
    crate::record::tests::line(class, count)
}

pub(in crate::sinks) fn start(
    output: Box<dyn Output>,
    limits: QueueLimits,
) -> (Sinks, watch::Receiver<bool>) {
    let (tell, closed) = watch::channel(false);
    let queue = Arc::new(Queue::new(limits));
    let writer = Writer::new(Arc::clone(&queue), output, encoder(), Some(tell), Marks::None);
    let sink = Sink::start(&"test".into(), Format::Flowlog, queue, writer).unwrap();
    (Sinks { sinks: vec![sink], select: false, closed: closed.clone() }, closed)
}

pub(super) fn start_file(path: &Path, limits: QueueLimits) -> Sinks {
    Sinks::start(&[path.to_str().unwrap().into()], &encoder(), limits, None).unwrap()
}

/// Every line as a reader gets it; their numbers have no gap.
pub(super) fn read(text: &str) -> Vec<Value> {
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<u64> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    let expected: Vec<u64> = (1..).take(lines.len()).collect();
    assert_eq!(numbers, expected, "the numbers have no gap");
    lines
}

pub(in crate::sinks) fn only(counters: BTreeMap<String, SinkCounters>) -> SinkCounters {
    assert_eq!(counters.len(), 1);
    counters.into_values().next().unwrap()
}

pub(super) fn sum<'a>(
    lines: &'a [Value],
    kind: &str,
    class: &str,
    of: impl Fn(&'a Value) -> &'a Value,
) -> u64 {
    let chosen =
        |line: &&Value| line["kind"] == kind && (line["class"] == class || line["loss"]["class"] == class);
    lines.iter().filter(chosen).map(|line| of(line).as_u64().unwrap()).sum()
}

pub(in crate::sinks) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn every_sink_writes_every_line_once_whole_and_in_order() {
    KINDS.iter().filter(|kind| !kind.consumer).for_each(writes_every_line_once_whole_and_in_order);
}

#[test]
#[ignore = "consumers: `cargo xtask test` installs them"]
fn every_sink_for_a_consumer_writes_every_line_once_whole_and_in_order() {
    KINDS.iter().filter(|kind| kind.consumer).for_each(writes_every_line_once_whole_and_in_order);
}

fn writes_every_line_once_whole_and_in_order(kind: &SinkKind) {
    let Fixture { output, framed, read_back } = (kind.fixture)();
    let (sinks, _) = start(output, QueueLimits::default());
    let offered = 3_000;
    for number in 0..offered {
        sinks.offer([gap(number)]);
    }
    sinks.offer([flow(Class::DeniedAttempt, 7)]);
    assert!(sinks.flush(LONG), "{}", kind.name);
    let counters = only(sinks.finish(LONG));
    let text = read_back();
    let lines = read(&text);
    assert_eq!(lines.len(), offered + 1, "{}", kind.name);
    for (number, line) in lines.iter().take(offered).enumerate() {
        assert_eq!(line["agent"]["gap"]["reason"], format!("gap {number}"), "{}", kind.name);
    }
    let expected = SinkCounters {
        lines: u64::try_from(offered).unwrap() + 1,
        bytes: if framed { counters.bytes } else { u64::try_from(text.len()).unwrap() },
        attempts: 7,
        ..SinkCounters::default()
    };
    assert_eq!(counters, expected, "{}", kind.name);
}

#[test]
fn a_reader_that_stalls_costs_ordinary_traffic_first_and_is_told_how_much() {
    let (output, mut reader) = stdout::tests::on_pipe();
    let (sinks, _) = start(output, SMALL);
    for _ in 0..1_000 {
        sinks.offer([flow(Class::Allowed, 2)]);
    }
    for _ in 0..5 {
        sinks.offer([flow(Class::PolicyNotEnforced, 3)]);
    }
    sinks.offer([encoder().loss(&kernel_loss(40)).unwrap()]);
    let read_all = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    assert!(sinks.flush(LONG));
    let counters = only(sinks.finish(LONG));
    let lines = read(&read_all.join().unwrap());
    let written = sum(&lines, "flow", "allowed", |line| &line["flow"]["count"]);
    let lost = sum(&lines, "loss", "allowed", |line| &line["loss"]["count"]);
    assert_eq!(written + lost, 2_000, "every attempt is written or told as lost");
    assert!(lost > 0, "the queue was full");
    assert_eq!(counters.lost_attempts, lost);
    assert_eq!(sum(&lines, "flow", "policy_not_enforced", |line| &line["flow"]["count"]), 15);
    assert_eq!(sum(&lines, "loss", "policy_not_enforced", |line| &line["loss"]["count"]), 0);
    let told = lines.iter().find(|line| line["loss"]["stage"] == "sink").unwrap();
    assert_eq!(told["loss"]["cause"], "queue_full");
    assert_eq!(told["loss"]["what"], "attempt");
    assert_eq!(sum(&lines, "loss", "", |line| &line["loss"]["count"]), 0);
    assert!(lines.iter().any(|line| line["loss"]["stage"] == "kernel"), "the other loss is written");
}

fn kernel_loss(count: u64) -> Loss {
    Loss {
        stage: LossStage::Kernel,
        cause: LossCause::RingFull,
        what: "attempt",
        class: None,
        count,
        first: time(),
        last: time(),
    }
}

#[test]
fn a_loss_that_finds_the_queue_full_is_told_later_with_its_whole_count() {
    let (output, mut reader) = stdout::tests::on_pipe();
    let (sinks, _) = start(output, SMALL);
    for number in 0..1_000 {
        sinks.offer([gap(number)]);
    }
    for _ in 0..10 {
        sinks.offer([encoder().loss(&kernel_loss(4)).unwrap()]);
    }
    let read_all = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    assert!(sinks.flush(LONG));
    let counters = only(sinks.finish(LONG));
    let lines = read(&read_all.join().unwrap());
    let told = |stage: &str| -> u64 {
        let of_stage = lines.iter().filter(|line| line["loss"]["stage"] == stage);
        of_stage.map(|line| line["loss"]["count"].as_u64().unwrap()).sum()
    };
    assert_eq!(told("kernel"), 40);
    let gaps = lines.iter().filter(|line| line["kind"] == "agent").count();
    assert_eq!(told("sink") + u64::try_from(gaps).unwrap(), 1_000);
    assert_eq!(counters.lost_lines, told("sink"));
}

#[test]
fn a_stuck_reader_does_not_hold_up_the_end() {
    let (output, reader) = stdout::tests::on_pipe();
    let (sinks, _) = start(output, QueueLimits::default());
    for _ in 0..1_000 {
        sinks.offer([flow(Class::Allowed, 1)]);
    }
    assert!(!sinks.flush(Duration::from_millis(50)), "nobody reads");
    let begin = Instant::now();
    let counters = only(sinks.finish(Duration::from_millis(100)));
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(counters.attempts + counters.lost_attempts, 1_000);
    assert!(counters.lost_attempts > 0);
    drop(reader);
}

#[test]
fn a_reader_that_left_is_told_to_the_agent() {
    let (output, reader) = stdout::tests::on_pipe();
    let (sinks, _) = start(output, QueueLimits::default());
    assert!(!sinks.is_closed());
    drop(reader);
    sinks.offer([flow(Class::Allowed, 1)]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let told = runtime.block_on(async { tokio::time::timeout(LONG, sinks.closed()).await });
    assert!(told.is_ok() && sinks.is_closed());
    sinks.offer([flow(Class::Allowed, 1)]);
    let counters = only(sinks.finish(LONG));
    assert_eq!((counters.attempts, counters.lost_attempts), (0, 2));
}

#[test]
fn a_reader_that_left_is_noticed_without_a_line_to_write() {
    let (output, reader) = stdout::tests::on_pipe();
    let (sinks, _) = start(output, QueueLimits::default());
    drop(reader);
    wait_until("the writer looks around", || sinks.is_closed());
}

#[test]
fn a_reader_that_left_ends_its_own_output_alone_where_there_are_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.jsonl");
    let (output, reader) = stdout::tests::on_pipe();
    let to_file = Request::from(path.to_str().unwrap());
    let encoder = encoder();
    let to_pipe = Opened { queue: Arc::new(Queue::new(QueueLimits::default())), output, delivery: None };
    let opening = Opening { request: &to_file, run: encoder.run(), number: 1 };
    let both = vec![to_pipe, opened(&opening, QueueLimits::default()).unwrap()];
    let sinks = Sinks::write_to(both, &["stdout".into(), to_file.clone()], &encoder, None).unwrap();
    sinks.offer([flow(Class::DeniedAttempt, 2)]);
    assert!(sinks.flush(LONG));
    drop(reader);
    sinks.offer([flow(Class::DeniedAttempt, 3)]);
    wait_until("it is noticed", || sinks.counters()["stdout"].lost_attempts == 3);
    assert!(!sinks.is_closed(), "the agent goes on");
    for _ in 0..100 {
        sinks.offer([flow(Class::Allowed, 1), gap(0)]);
    }
    assert!(sinks.flush(LONG), "nothing waits for a reader that is gone");
    let state = &sinks.states()["stdout"];
    assert_eq!((state.lines, state.bytes), (0, 0));
    let lost = [
        ((LossCause::WriteFailed, Class::Allowed), 100),
        ((LossCause::WriteFailed, Class::DeniedAttempt), 3),
    ];
    assert_eq!(state.lost_attempts, BTreeMap::from(lost));
    let counters = sinks.finish(LONG);
    let gone = counters["stdout"];
    assert_eq!((gone.lines, gone.attempts, gone.lost_lines, gone.lost_attempts), (1, 2, 201, 103));
    assert_eq!(gone.failures, 1);
    let other = counters[path.to_str().unwrap()];
    assert_eq!((other.lines, other.attempts, other.lost_lines, other.failures), (202, 105, 0, 0));
    let lines = read(&fs::read_to_string(&path).unwrap());
    assert!(lines.iter().all(|line| line["kind"] != "loss"), "this output lost nothing");
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let sinks = start_file(Path::new("/dev/full"), SMALL);
    for _ in 0..200 {
        sinks.offer([flow(Class::DeniedAttempt, 1)]);
    }
    let counters = only(sinks.finish(Duration::from_millis(200)));
    assert_eq!((counters.lines, counters.attempts), (0, 0));
    assert_eq!((counters.lost_lines, counters.lost_attempts), (200, 200));
    assert!(counters.failures > 0);
}

#[test]
fn a_directory_that_vanishes_costs_nothing_when_it_comes_back_in_time() {
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("log");
    let path = directory.join("flows.jsonl");
    fs::create_dir(&directory).unwrap();
    let sinks = start_file(&path, QueueLimits::default());
    sinks.offer([gap(0)]);
    assert!(sinks.flush(LONG));
    let before = fs::read_to_string(&path).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    sinks.offer([gap(1)]);
    wait_until("the failure is counted", || only(sinks.counters()).failures > 0);
    fs::create_dir(&directory).unwrap();
    sinks.offer([gap(2)]);
    assert!(sinks.flush(LONG), "it recovers by itself");
    let counters = only(sinks.finish(LONG));
    let lines = read(&format!("{before}{}", fs::read_to_string(&path).unwrap()));
    assert_eq!(lines.len(), 3);
    assert_eq!(counters.lost_lines, 0);
    assert_eq!(counters.reopened, 1);
}

#[test]
fn what_is_lost_while_a_file_cannot_be_written_is_told_in_it_afterwards() {
    let base = tempfile::tempdir().unwrap();
    let directory = base.path().join("log");
    let path = directory.join("flows.jsonl");
    fs::create_dir(&directory).unwrap();
    let sinks = start_file(&path, SMALL);
    fs::remove_dir_all(&directory).unwrap();
    sinks.offer([flow(Class::DeniedAttempt, 1)]);
    wait_until("the failure is counted", || only(sinks.counters()).failures > 0);
    for _ in 0..299 {
        sinks.offer([flow(Class::DeniedAttempt, 1)]);
    }
    fs::create_dir(&directory).unwrap();
    assert!(sinks.flush(LONG));
    sinks.finish(LONG);
    let lines = read(&fs::read_to_string(&path).unwrap());
    let lost = sum(&lines, "loss", "denied_attempt", |line| &line["loss"]["count"]);
    assert_eq!(sum(&lines, "flow", "denied_attempt", |line| &line["flow"]["count"]) + lost, 300);
    let told = lines.iter().find(|line| line["kind"] == "loss").unwrap();
    assert_eq!(told["loss"]["cause"], "write_failed");
}

#[test]
fn a_rotation_that_asks_gets_a_new_file_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.jsonl");
    let rotated = directory.path().join("flows.jsonl.1");
    let sinks = start_file(&path, QueueLimits::default());
    sinks.offer([gap(0)]);
    assert!(sinks.flush(LONG));
    fs::rename(&path, &rotated).unwrap();
    sinks.reopen();
    wait_until("the new file is there", || path.exists());
    sinks.offer([gap(1)]);
    let counters = only(sinks.finish(LONG));
    let both = [&rotated, &path].map(|path| fs::read_to_string(path).unwrap());
    assert_eq!(both.each_ref().map(|text| text.lines().count()), [1, 1]);
    assert_eq!(read(&both.concat()).len(), 2);
    assert_eq!(counters.reopened, 1);
}

#[test]
fn lines_for_a_named_pipe_wait_for_its_reader() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let sinks = start_file(&path, QueueLimits::default());
    sinks.offer([gap(0)]);
    wait_until("there is no reader", || only(sinks.counters()).failures > 0);
    let mut reader = BufReader::new(fs::File::open(&path).unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(read(&line)[0]["agent"]["gap"]["reason"], "gap 0");
    sinks.finish(LONG);
}

#[test]
fn outputs_that_cannot_work_are_refused() {
    let refuse = |outputs: &[&str]| {
        let outputs: Vec<Request> = outputs.iter().copied().map(Request::from).collect();
        Sinks::start(&outputs, &encoder(), SMALL, None).unwrap_err().to_string()
    };
    assert_eq!(refuse(&[]), "no output is configured: name `stdout` or the path of a file");
    assert_eq!(refuse(&["/dev/null", "/dev/null"]), "output `/dev/null` is configured twice");
    assert!(refuse(&["/nonexistent/flows.jsonl"]).contains("the directory /nonexistent does not exist"));
    assert!(refuse(&["/"]).starts_with("cannot open / for appending: "));
}

#[test]
fn what_is_offered_is_shared_and_not_copied() {
    let line = gap(0);
    let other = line.clone();
    assert_eq!(line.body().as_ptr(), other.body().as_ptr());
    assert_eq!(line.content(), &Content::Agent);
}

#[test]
fn every_output_has_its_own_format_and_all_have_the_same_records() {
    let folder = tempfile::tempdir().unwrap();
    let outputs: Vec<Request> = ["", "ecs=", "ocsf=", "ocsf="]
        .iter()
        .enumerate()
        .map(|(number, format)| format!("{format}{}", folder.path().join(format!("{number}.json")).display()))
        .map(|output| Request::from(&*output))
        .collect();
    let mut encoder = encoder().in_formats(formats(&outputs));
    let sinks = Sinks::start(&outputs, &encoder, QueueLimits::default(), None).unwrap();
    for number in 0..100 {
        let event = AgentEvent::Gap(Gap { from: time(), to: time(), reason: format!("gap {number}") });
        sinks.offer([encoder.agent(&Agent { time: time(), event }).unwrap()]);
    }
    sinks.finish(LONG);
    for (number, (part, reason)) in [
        ("", "/agent/gap/reason"),
        ("/flowlog", "/event/reason"),
        ("/unmapped/flowlog", "/status_detail"),
        ("/unmapped/flowlog", "/status_detail"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = fs::read_to_string(folder.path().join(format!("{number}.json"))).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 100);
        for (at, line) in lines.iter().enumerate() {
            assert_eq!(line.pointer(part).unwrap()["seq"], at + 1, "{line}");
            assert_eq!(*line.pointer(reason).unwrap(), format!("gap {at}"), "{line}");
        }
    }
}

#[test]
fn a_loss_is_told_in_the_format_of_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flows.json");
    let output = format!("ocsf={}", file.display());
    let mut encoder = encoder().in_formats(Format::Ocsf);
    let sinks =
        Sinks::start(&[Request::from(&*output)], &encoder, QueueLimits { lines: 0, bytes: 0 }, None).unwrap();
    let event = AgentEvent::Gap(Gap { from: time(), to: time(), reason: "lost".to_owned() });
    sinks.offer([encoder.agent(&Agent { time: time(), event }).unwrap()]);
    sinks.finish(LONG);
    let line: Value = serde_json::from_str(fs::read_to_string(file).unwrap().trim_end()).unwrap();
    assert_eq!((&line["class_uid"], &line["count"]), (&6_008.into(), &1.into()), "{line}");
}

#[test]
fn one_place_is_not_written_in_two_formats() {
    let start = |outputs: &[&str], encoder: &Encoder| {
        let outputs: Vec<Request> = outputs.iter().copied().map(Request::from).collect();
        Sinks::start(&outputs, encoder, SMALL, None)
    };
    let all = encoder().in_formats(Formats::of(Format::ALL));
    assert!(matches!(start(&["stdout", "ecs=stdout"], &all), Err(SinkError::Twice { .. })));
    assert!(matches!(start(&["ocsf=-", "ecs=stdout"], &all), Err(SinkError::Twice { .. })));
    assert!(matches!(start(&["cef=stdout"], &all), Err(SinkError::UnknownFormat { .. })));
    assert!(matches!(start(&["ecs="], &all), Err(SinkError::NoPlace { .. })));
    assert!(matches!(start(&["ecs=stdout"], &encoder()), Err(SinkError::Format { .. })));
}
