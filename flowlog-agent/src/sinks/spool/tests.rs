use super::record::{head, record_bytes};
use super::*;
use crate::model::Class;
use crate::record::SinkCounters;
use crate::sinks::tests::{LONG, encoder, flow, gap, wait_until};
use crate::sinks::{QueueLimits, Request, Sinks};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Frames as they come, and what becomes of them as it is told.
struct Store1 {
    store: Store,
    folder: PathBuf,
}

fn place(folder: &Path, bytes: u64) -> SpoolPlace {
    SpoolPlace { folder: folder.to_owned(), bytes }
}

fn store(folder: &Path, bytes: u64) -> Store1 {
    let store = Store::open(&place(folder, bytes), "test").unwrap();
    Store1 { store, folder: folder.to_owned() }
}

impl Store1 {
    fn put(&self, numbers: std::ops::Range<u64>) -> bool {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for number in numbers {
            Parcel::Flow { class: Class::DeniedAttempt, attempts: 1 }.append_to(&mut bytes);
            bytes.extend_from_slice(format!("frame {number:06} {}\n", "x".repeat(100)).as_bytes());
            ends.push(bytes.len());
        }
        self.store.append(Batch { bytes: &bytes, ends: &ends }, Duration::ZERO).unwrap()
    }

    /// Deliver all that is there; numbers, and how many are missing.
    fn all(&self) -> (Vec<u64>, u64) {
        let (mut got, mut missing) = (Vec::new(), 0);
        while let Some(mut taken) = self.store.take(1_000).unwrap() {
            missing += taken.missing;
            let batch = taken.batch();
            got.extend(batch.frames(0..batch.len()).map(number));
            let count = taken.parcels.len();
            self.store.advance(&mut taken, count, &[]);
        }
        (got, missing)
    }

    fn files(&self) -> Vec<PathBuf> {
        files(&self.folder)
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "spool"));
    files.sort();
    files
}

fn number(frame: &[u8]) -> u64 {
    std::str::from_utf8(&frame[6..12]).unwrap().parse().unwrap()
}

#[test]
fn what_was_put_in_comes_out_in_order_and_its_files_go() {
    let folder = tempfile::tempdir().unwrap();
    let spool = store(folder.path(), 1 << 20);
    for batch in 0..100 {
        assert!(spool.put(batch * 10..batch * 10 + 10));
    }
    assert!(spool.files().len() > 1, "more than one file");
    assert_eq!(spool.store.state().lines, 1_000);
    assert_eq!(spool.all(), ((0..1_000).collect(), 0));
    assert!(spool.files().len() <= 1, "what is delivered is removed");
    let state = spool.store.state();
    assert_eq!((state.lines, state.delivered_lines, state.damaged_lines), (0, 1_000, 0));
    assert!(spool.put(1_000..1_010));
    assert_eq!(spool.all(), ((1_000..1_010).collect(), 0));
}

#[test]
fn a_full_spool_takes_nothing_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = store(folder.path(), 1 << 20);
    let mut put = 0;
    while spool.put(put..put + 10) {
        put += 10;
    }
    let bytes: u64 = spool.files().iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes <= 1 << 20 && bytes > (1 << 20) - 4_000, "{bytes}");
    let mut taken = spool.store.take(1 << 20).unwrap().unwrap();
    assert!(!spool.put(put..put + 10), "what is being delivered has its room still");
    let count = taken.parcels.len();
    spool.store.advance(&mut taken, count, &[]);
    assert_eq!(spool.all().0.len() + count, usize::try_from(put).unwrap());
    assert!(spool.put(0..10), "there is room again");
}

#[test]
fn after_a_kill_at_most_what_was_under_way_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let spool = store(folder.path(), 1 << 20);
    spool.put(0..100);
    let mut taken = spool.store.take(1_000).unwrap().unwrap();
    let count = taken.parcels.len();
    spool.store.advance(&mut taken, count, &[]);
    let second = spool.store.take(1_000).unwrap().unwrap();
    assert!(!second.parcels.is_empty());
    drop(spool);
    let spool = store(folder.path(), 1 << 20);
    let first = u64::try_from(count).unwrap();
    assert_eq!(spool.store.state().lines, 100 - first);
    spool.put(100..110);
    assert_eq!(spool.all(), ((first..110).collect(), 0));
}

#[test]
fn how_far_an_earlier_run_came_says_nothing_of_a_later_file() {
    let folder = tempfile::tempdir().unwrap();
    let spool = store(folder.path(), 1 << 20);
    spool.put(0..100);
    assert_eq!(spool.all().0.len(), 100);
    drop(spool);
    // Its one file is left behind, all delivered: it goes.
    let spool = store(folder.path(), 1 << 20);
    assert_eq!(spool.all(), (Vec::new(), 0));
    assert!(spool.files().is_empty());
    drop(spool);
    let spool = store(folder.path(), 1 << 20);
    spool.put(100..150);
    drop(spool);
    let spool = store(folder.path(), 1 << 20);
    assert_eq!(spool.store.state().lines, 50);
    assert_eq!(spool.all(), ((100..150).collect(), 0));
}

#[test]
fn a_torn_tail_is_cut_and_what_follows_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let spool = store(folder.path(), 1 << 20);
    spool.put(0..10);
    let [file] = &*spool.files() else { panic!("one file") };
    drop(spool);
    let whole = fs::metadata(file).unwrap().len();
    for cut in [1, 20, 100] {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() - cut]).unwrap();
        let spool = store(folder.path(), 1 << 20);
        assert!(
            fs::metadata(file).unwrap().len() < whole - u64::try_from(cut).unwrap(),
            "the rest of it is cut off"
        );
        drop(spool);
        fs::write(file, bytes).unwrap();
    }
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 30]).unwrap();
    let spool = store(folder.path(), 1 << 20);
    spool.put(9..20);
    assert_eq!(spool.all(), ((0..20).collect(), 0), "the one that was torn is put there anew by its agent");
}

#[test]
fn a_damaged_record_costs_itself_alone_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let spool = store(folder.path(), 1 << 20);
    spool.put(0..10);
    let [file] = &*spool.files() else { panic!("one file") };
    let mut bytes = fs::read(file).unwrap();
    let record = record_bytes(9 + 114);
    bytes[head("test").len() + 3 * record + 50] ^= 1;
    bytes[head("test").len() + 4 * record + 2] ^= 1;
    fs::write(file, &bytes).unwrap();
    let expected: Vec<u64> = (0..10).filter(|number| ![3, 4].contains(number)).collect();
    assert_eq!(spool.all(), (expected, 2));
    assert_eq!(spool.store.state().damaged_lines, 2);
}

#[test]
fn a_file_that_is_gone_is_counted_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let spool = store(folder.path(), 1 << 20);
    for batch in 0..300 {
        spool.put(batch * 10..batch * 10 + 10);
    }
    let files = spool.files();
    fs::remove_file(&files[0]).unwrap();
    let mut bytes = fs::read(&files[1]).unwrap();
    bytes[1_000..].fill(0);
    fs::write(&files[1], bytes).unwrap();
    let (got, missing) = spool.all();
    assert!(missing > 200, "{missing}");
    assert_eq!(got.len() + usize::try_from(missing).unwrap(), 3_000);
    assert!(got.is_sorted());
}

#[test]
fn a_folder_is_of_one_output_and_one_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let spool = store(folder.path(), 1 << 20);
    let open = |kind| Store::open(&place(folder.path(), 1 << 20), kind).map_err(|error| error.to_string());
    assert!(open("test").unwrap_err().contains("another agent, or another output"));
    spool.put(0..1);
    drop(spool);
    assert!(open("elastic").unwrap_err().contains("holds lines for `test`, and this output is `elastic`"));
    assert!(open("test").is_ok());
    let gone = Store::open(&place(&folder.path().join("gone"), 1 << 20), "test").unwrap_err().to_string();
    assert!(gone.contains("create it first"), "{gone}");
}

#[test]
fn a_folder_that_vanishes_is_noticed_and_used_again_when_it_is_back() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("spool");
    fs::create_dir(&folder).unwrap();
    let spool = store(&folder, 1 << 20);
    spool.put(0..10);
    fs::remove_dir_all(&folder).unwrap();
    let bytes = [255, 0, 0, 0, 0, 0, 0, 0, 0, b'x'];
    let batch = Batch { bytes: &bytes, ends: &[10] };
    assert!(spool.store.append(batch, Duration::ZERO).is_err());
    assert!(spool.store.begin_anew().is_err());
    fs::create_dir(&folder).unwrap();
    spool.store.begin_anew().unwrap();
    spool.put(10..20);
    assert_eq!(spool.all(), ((10..20).collect(), 10), "what was there is counted");
}

/// A destination for whole sinks: it is there or not as a file says.
fn request(folder: &Path, bytes: u64, port: u16) -> Request {
    let remote = crate::sinks::Remote {
        timeout: Duration::from_millis(700),
        linger: Duration::from_millis(20),
        ..crate::sinks::Remote::default()
    };
    let spool = Some(place(folder, bytes));
    Request { remote, spool, ..Request::from(&*format!("elastic+http://127.0.0.1:{port}/flows")) }
}

fn start(request: Request) -> Sinks {
    Sinks::start(&[request], &encoder(), QueueLimits { lines: 80, bytes: 1 << 20 }, None).unwrap()
}

fn only(sinks: &Sinks) -> SpoolState {
    sinks.states().into_values().next().unwrap().spool.unwrap()
}

fn gaps(lines: &[String]) -> BTreeSet<u64> {
    let parsed = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed
        .filter_map(|line| line["agent"]["gap"]["reason"].as_str()?.rsplit(' ').next()?.parse().ok())
        .collect()
}

use crate::sinks::remote::http::server::{Fault, Kind, POISON, Server};

/// `FLOWLOG_OUTAGE_TRIES` makes it longer: 125 tries are ten minutes.
#[test]
fn an_outage_loses_nothing_that_fits() {
    let tries: u32 = std::env::var("FLOWLOG_OUTAGE_TRIES").map_or(3, |tries| tries.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Kind::Elastic);
    server.fail((0..tries).map(|_| Fault::Status(503, "")));
    let sinks = start(request(folder.path(), 512 << 20, server.port));
    let (mut offered, begin) = (0, Instant::now());
    // Far more than the queue holds: the spool takes them, whatever the destination does.
    while only(&sinks).failures < u64::from(tries) || offered < 4_000 {
        assert!(begin.elapsed() < LONG + 6 * Duration::from_secs(tries.into()), "it goes on trying");
        for _ in 0..40 {
            sinks.offer([gap(offered)]);
            offered += 1;
        }
        assert!(sinks.flush(LONG), "a destination that refuses holds nobody up");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    // So much at a time takes a server that reads every line a while.
    let mut left = only(&sinks).lines;
    while left > 0 {
        let before = left;
        wait_until("more is delivered", || {
            left = only(&sinks).lines;
            left < before
        });
    }
    let state = only(&sinks);
    let counters = sinks.finish(LONG).into_values().next().unwrap();
    let all = u64::try_from(offered).unwrap();
    assert_eq!((counters.lines, counters.lost_lines), (all, 0));
    assert_eq!((state.delivered_lines, state.failures), (all, tries.into()));
    let taken = server.taken();
    assert_eq!((taken.len(), gaps(&taken).len()), (offered, offered), "each once");
    println!("{offered} lines through an outage of {:?}", begin.elapsed());
}

#[test]
fn what_is_left_at_the_end_is_delivered_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let sinks = start(request(folder.path(), 16 << 20, port));
    for number in 0..50 {
        sinks.offer([gap(number)]);
    }
    assert!(sinks.flush(LONG));
    let begin = Instant::now();
    let counters = sinks.finish(LONG).into_values().next().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "a destination that is away does not hold up the end");
    assert_eq!((counters.lines, counters.lost_lines), (50, 0));
    assert_eq!(counters.spool.unwrap().waiting_lines, 50);
    let server = Server::at(Kind::Elastic, std::net::TcpListener::bind(("127.0.0.1", port)).unwrap());
    let sinks = start(request(folder.path(), 16 << 20, port));
    sinks.offer([gap(50)]);
    wait_until("all is delivered", || server.taken().len() >= 50);
    sinks.finish(LONG);
    let taken = server.taken();
    assert_eq!(gaps(&taken[..50]), (0..50).collect(), "what was left goes first");
}

#[test]
fn a_spool_that_is_full_sheds_by_class_and_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Kind::Elastic);
    server.fail(std::iter::repeat_n(Fault::Status(503, ""), 2));
    let sinks = start(request(folder.path(), 1 << 20, server.port));
    let all = 3_000;
    for _ in 0..all {
        sinks.offer([flow(Class::Allowed, 2), flow(Class::PolicyNotEnforced, 1)]);
        std::thread::park_timeout(Duration::from_micros(20));
    }
    assert!(sinks.flush(LONG), "it recovers by itself");
    wait_until("all is delivered", || only(&sinks).lines == 0);
    let counters: SinkCounters = sinks.finish(LONG).into_values().next().unwrap();
    assert!(counters.lost_attempts > 0);
    assert_eq!(counters.attempts + counters.lost_attempts, all * 3);
    let taken: Vec<Value> = server.taken().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let flows = taken.iter().filter_map(|line| line["flow"]["count"].as_u64()).sum::<u64>();
    let lost = taken.iter().filter_map(|line| line["loss"]["count"].as_u64()).sum::<u64>();
    assert_eq!(flows + lost, all * 3, "each attempt is delivered or told as lost");
    assert_eq!(lost, counters.lost_attempts);
}

#[test]
fn what_is_refused_out_of_a_spool_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Kind::Elastic);
    let sinks = start(request(folder.path(), 16 << 20, server.port));
    let time = jiff::Timestamp::UNIX_EPOCH;
    let event = crate::record::AgentEvent::Gap(crate::record::Gap {
        from: time,
        to: time,
        reason: POISON.to_owned(),
    });
    sinks.offer([gap(0), encoder().agent(&crate::record::Agent { time, event }).unwrap(), gap(1)]);
    wait_until("the loss is told", || {
        server.taken().iter().any(|line| line.contains(r#""cause":"refused""#))
    });
    assert_eq!(gaps(&server.taken()), (0..2).collect());
    assert_eq!(only(&sinks).refused_lines, 1);
    sinks.finish(LONG);
}

fn kernel_loss(count: u64) -> Line {
    let time = jiff::Timestamp::UNIX_EPOCH;
    let loss = crate::model::Loss {
        stage: crate::model::LossStage::Kernel,
        cause: crate::model::LossCause::RingFull,
        what: "attempt",
        class: None,
        count,
        first: time,
        last: time,
    };
    encoder().loss(&loss).unwrap()
}

fn losses(server: &Server) -> Vec<Value> {
    let parsed = server.taken().into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
    parsed.filter(|line| line["kind"] == "loss").map(|line| line["loss"].clone()).collect()
}

#[test]
fn a_loss_that_is_refused_out_of_a_spool_is_told_again_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Kind::Elastic);
    server.fail([Fault::Status(400, "")]);
    let sinks = start(request(folder.path(), 16 << 20, server.port));
    sinks.offer([kernel_loss(40)]);
    wait_until("the loss is told", || !server.taken().is_empty());
    let told = losses(&server);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["stage"], &told[0]["cause"], &told[0]["what"], &told[0]["count"]),
        (&"kernel".into(), &"ring_full".into(), &"attempt".into(), &40.into())
    );
    assert_eq!(told[0]["first"], "1970-01-01T00:00:00.000000000Z");
    let counters: SinkCounters = sinks.finish(LONG).into_values().next().unwrap();
    assert_eq!((counters.lost_lines, counters.spool.unwrap().refused_lines), (0, 1));
}

#[test]
fn attempts_that_are_refused_out_of_a_spool_are_in_the_books() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Kind::Elastic);
    server.fail([Fault::Status(400, "")]);
    let sinks = start(request(folder.path(), 16 << 20, server.port));
    sinks.offer([flow(Class::DeniedAttempt, 7)]);
    wait_until("the loss is told", || !losses(&server).is_empty());
    sinks.offer([flow(Class::DeniedAttempt, 3)]);
    wait_until("the next one comes", || server.taken().len() == 2);
    let state = sinks.states().into_values().next().unwrap();
    let key = (crate::model::LossCause::Refused, Class::DeniedAttempt);
    assert_eq!(state.lost_attempts.get(&key), Some(&7));
    let counters: SinkCounters = sinks.finish(LONG).into_values().next().unwrap();
    let spool = counters.spool.unwrap();
    assert_eq!((counters.attempts, counters.lost_attempts, spool.refused_attempts), (10, 7, 7));
    assert_eq!((counters.lost_lines, spool.refused_lines), (1, 1));
    let told = losses(&server);
    assert_eq!(
        (&told[0]["what"], &told[0]["count"], &told[0]["class"]),
        (&"attempt".into(), &7.into(), &"denied_attempt".into())
    );
}

/// A loss lay there as a record like another, and is refused as that.
#[test]
fn what_the_build_before_left_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let spool = store(folder.path(), 1 << 20);
    let bodies = [
        [&[2][..], &3_u64.to_le_bytes(), b"flow"].concat(),
        [&[254][..], &[0; 8], b"finding"].concat(),
        [&[255][..], &[0; 8], b"loss"].concat(),
    ];
    let ends: Vec<usize> = bodies
        .iter()
        .scan(0, |end, body| {
            *end += body.len();
            Some(*end)
        })
        .collect();
    assert!(spool.store.append(Batch { bytes: &bodies.concat(), ends: &ends }, Duration::ZERO).unwrap());
    let taken = spool.store.take(1_000).unwrap().unwrap();
    assert_eq!(
        taken.parcels,
        [Parcel::Flow { class: Class::DeniedAttempt, attempts: 3 }, Parcel::Finding, Parcel::Other]
    );
    assert_eq!(taken.batch().frames(0..3).collect::<Vec<_>>(), [&b"flow"[..], b"finding", b"loss"]);
}
