//! Logs that are still written: over rotations, from pipes, where they come later.

use super::written::Line;
use crate::bin::Place;
use flowlog_tests::{program, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// `flowlog observe`, running.
pub(super) struct Observing {
    child: Child,
    said: Arc<Mutex<(Vec<String>, Vec<String>)>>,
}

impl Observing {
    pub(super) fn start(place: &Place, args: &[&str], stdin: Stdio) -> Self {
        let mut child = Command::new(program::flowlog().unwrap())
            .arg("observe")
            .args(args)
            .current_dir(place.path())
            .env_clear()
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (of_out, of_err) = (Arc::clone(&said), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                of_out.lock().unwrap().0.push(line);
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                of_err.lock().unwrap().1.push(line);
            }
        });
        Self { child, said }
    }

    /// Waits until these are the numbers of all lines that were shown.
    #[track_caller]
    pub(super) fn shows(&self, seqs: &[u64]) {
        let shown = || -> Vec<u64> {
            let said = self.said.lock().unwrap();
            let seq = |line: &String| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["seq"].as_u64().unwrap()
            };
            said.0.iter().map(seq).collect()
        };
        let found = wait::until("lines are shown", SOON, || Ok(shown() == seqs));
        found.unwrap_or_else(|error| panic!("{error}: {:?}, not {seqs:?}; {:?}", shown(), self.told()));
    }

    /// Waits until something is told on stderr.
    #[track_caller]
    pub(super) fn tells(&self, what: &str) {
        let found =
            wait::until("it is told", SOON, || Ok(self.told().iter().any(|line| line.contains(what))));
        found.unwrap_or_else(|error| panic!("{error}: {what}: {:?}", self.told()));
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.said.lock().unwrap().1.clone()
    }
}

impl Drop for Observing {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn append(place: &Place, name: &str) -> File {
    OpenOptions::new().create(true).append(true).open(place.path().join(name)).unwrap()
}

fn line(seq: u64) -> String {
    Line::of("n1", seq, seq).to_string()
}

#[test]
fn a_file_is_followed_over_its_rotation_by_name() {
    let place = Place::new();
    let mut old = append(&place, "flows.json");
    old.write_all(line(1).as_bytes()).unwrap();
    let observing = Observing::start(&place, &["-f", "flows.json", "-o", "json"], Stdio::null());
    observing.shows(&[1]);
    // A line in two writes.
    let (front, back) = (&line(2)[..200], &line(2)[200..]);
    old.write_all(front.as_bytes()).unwrap();
    observing.shows(&[1]);
    old.write_all(back.as_bytes()).unwrap();
    observing.shows(&[1, 2]);
    // As logrotate does: who writes goes on with the old file until he is told.
    fs::rename(place.path().join("flows.json"), place.path().join("flows.json.1")).unwrap();
    let mut new = append(&place, "flows.json");
    old.write_all(line(3).as_bytes()).unwrap();
    observing.shows(&[1, 2, 3]);
    old.write_all(line(4).as_bytes()).unwrap();
    new.write_all(line(5).as_bytes()).unwrap();
    observing.shows(&[1, 2, 3, 4, 5]);
    // As flowlog does: renamed, and begun anew at once.
    fs::rename(place.path().join("flows.json"), place.path().join("flows.json.1")).unwrap();
    append(&place, "flows.json").write_all(line(6).as_bytes()).unwrap();
    observing.shows(&[1, 2, 3, 4, 5, 6]);
    assert_eq!(observing.told(), Vec::<String>::new());
}

#[test]
fn a_log_that_comes_later_is_followed_from_its_beginning() {
    let place = Place::new();
    place.write("logs/a.json", &Line::of("n1", 1, 1).to_string());
    let observing = Observing::start(&place, &["-f", "logs", "late.json", "-o", "json"], Stdio::null());
    observing.tells("late.json is not there yet: waiting for it");
    observing.shows(&[1]);
    place.write("logs/more/b.json", &Line::of("n2", 7, 2).to_string());
    observing.shows(&[1, 7]);
    place.write("late.json", &Line::of("n3", 9, 3).to_string());
    observing.shows(&[1, 7, 9]);
    // What was rotated and compressed was read before.
    fs::rename(place.path().join("logs/a.json"), place.path().join("logs/a.json.1")).unwrap();
    fs::write(place.path().join("logs/a.json.2.gz"), super::packed(&line(1))).unwrap();
    place.write("logs/a.json", &line(2));
    observing.shows(&[1, 7, 9, 2]);
}

#[test]
fn a_file_that_is_cut_is_read_from_its_beginning() {
    let place = Place::new();
    place.write("flows.json", &(line(1) + &line(2)));
    let observing = Observing::start(&place, &["-f", "flows.json", "-o", "json"], Stdio::null());
    observing.shows(&[1, 2]);
    fs::write(place.path().join("flows.json"), line(3)).unwrap();
    observing.shows(&[1, 2, 3]);
    observing.tells("flows.json: was cut while it was read");
}

#[test]
fn what_comes_through_a_pipe_is_shown_as_it_comes() {
    let place = Place::new();
    let (read, write) = nix::unistd::pipe().unwrap();
    let observing = Observing::start(&place, &["-o", "json"], Stdio::from(read));
    let mut write = File::from(write);
    for seq in 1..=3 {
        write.write_all(line(seq).as_bytes()).unwrap();
        observing.shows(&(1..=seq).collect::<Vec<_>>());
    }
}

#[test]
fn a_silent_node_holds_up_the_others_for_a_moment_only() {
    let place = Place::new();
    let mut one = append(&place, "n1.json");
    let mut two = append(&place, "n2.json");
    one.write_all(line(1).as_bytes()).unwrap();
    two.write_all(Line::of("n2", 1, 0).to_string().as_bytes()).unwrap();
    let observing = Observing::start(&place, &["-f", ".", "-o", "json"], Stdio::null());
    observing.shows(&[1, 1]);
    one.write_all(line(2).as_bytes()).unwrap();
    observing.shows(&[1, 1, 2]);
}

#[test]
fn a_long_log_is_not_held_up_by_the_end_of_a_short_one() {
    let place = Place::new();
    let long: String = (1..=8_000).map(|seq| Line::of("n1", seq, 5 + seq % 3_000).to_string()).collect();
    place.write("n1.json", &long);
    place.write("n2.json", &Line::of("n2", 9_000, 0).to_string());
    let observing = Observing::start(&place, &["-f", ".", "-o", "json"], Stdio::null());
    let all: Vec<u64> = std::iter::once(9_000).chain(1..=8_000).collect();
    observing.shows(&all);
}

#[test]
fn a_file_that_is_not_the_newest_by_its_clock_is_followed_too() {
    let place = Place::new();
    let mut line = Line::of("n1", 1, 50);
    line.value["run"] = "r0".into();
    place.write("flows.json.1", &line.to_string());
    // Its clock was set back before this run.
    place.write("flows.json", &self::line(1));
    let observing = Observing::start(&place, &["-f", ".", "-o", "json"], Stdio::null());
    observing.shows(&[1, 1]);
    append(&place, "flows.json").write_all(self::line(2).as_bytes()).unwrap();
    observing.shows(&[1, 1, 2]);
    // Rotated: what is renamed was read, what is new is followed.
    fs::rename(place.path().join("flows.json"), place.path().join("flows.json.2")).unwrap();
    append(&place, "flows.json").write_all(self::line(3).as_bytes()).unwrap();
    observing.shows(&[1, 1, 2, 3]);
}

#[test]
fn what_was_read_is_summed_up_when_it_is_ended() {
    let place = Place::new();
    place.write("flows.json", &(line(1) + &line(4)));
    let mut observing = Observing::start(&place, &["-f", "flows.json", "-o", "json"], Stdio::null());
    observing.shows(&[1, 4]);
    kill(Pid::from_raw(observing.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    observing.tells("2 lines are missing: lost behind flowlog");
    let mut code = None;
    let ended = wait::until("it ends", SOON, || {
        code = observing.child.try_wait()?.map(|status| status.code());
        Ok(code.is_some())
    });
    ended.unwrap();
    assert_eq!(code, Some(Some(0)));
}

impl Observing {
    /// Waits until it has ended, and how.
    #[track_caller]
    fn ends(&mut self) -> Option<i32> {
        let mut status = None;
        let ended = wait::until("it ends", SOON, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        });
        ended.unwrap_or_else(|error| panic!("{error}: {:?}", self.told()));
        status.unwrap().code()
    }

    fn interrupt(&self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    }
}

#[test]
fn a_pipe_that_says_nothing_does_not_keep_it_from_summing_up() {
    let place = Place::new();
    let (read, write) = nix::unistd::pipe().unwrap();
    let mut observing = Observing::start(&place, &["-f", "-", "-o", "json"], Stdio::from(read));
    let mut write = File::from(write);
    write.write_all((line(1) + &line(4)).as_bytes()).unwrap();
    observing.shows(&[1, 4]);
    observing.interrupt();
    assert_eq!(observing.ends(), Some(0));
    observing.tells("2 lines are missing: lost behind flowlog");
}

#[test]
fn what_is_held_is_shown_before_it_is_summed_up() {
    let place = Place::new();
    place.write("n1.json", &line(1));
    let mut observing = Observing::start(&place, &["-f", ".", "-o", "json"], Stdio::null());
    observing.shows(&[1]);
    // The other node's clock is an hour behind, and it goes on writing.
    let mut behind = append(&place, "n2.json");
    let mut seq = 0;
    let mut write_behind = || {
        seq += 1;
        behind.write_all(Line::of("n2", 1_000 + seq, 0).to_string().as_bytes()).unwrap();
    };
    write_behind();
    let shown = || observing.said.lock().unwrap().0.clone();
    let has = |seq: u64| shown().iter().any(|line| line.contains(&format!("\"seq\":{seq},")));
    wait::until("the other node is read", SOON, || Ok(has(1_001))).unwrap();
    append(&place, "n1.json").write_all(line(2).as_bytes()).unwrap();
    let found = wait::until("it is shown whatever the other does", SOON, || {
        write_behind();
        Ok(has(2))
    });
    found.unwrap();
    observing.interrupt();
    assert_eq!(observing.ends(), Some(0));
}

#[test]
fn it_ends_when_the_time_has_passed_until_which_records_are_asked_for() {
    let place = Place::new();
    let ago = |seconds: u64| jiff::Timestamp::now() - Duration::from_secs(seconds);
    let line = |seq: u64| Line::of("n1", seq, 0).at(&ago(60).to_string()).to_string();
    place.write("flows.json", &line(1));
    let start = |until: jiff::Timestamp| {
        let until = until.to_string();
        Observing::start(&place, &["-f", "flows.json", "-o", "json", "--until", &until], Stdio::null())
    };
    let mut observing = start(ago(1));
    assert_eq!(observing.ends(), Some(0));
    observing.shows(&[1]);
    let mut observing = start(jiff::Timestamp::now() + Duration::from_secs(4));
    observing.shows(&[1]);
    append(&place, "flows.json").write_all(line(2).as_bytes()).unwrap();
    observing.shows(&[1, 2]);
    assert_eq!(observing.ends(), Some(0));
}

#[test]
fn a_reader_that_left_is_no_failure() {
    let place = Place::new();
    let log: String = (1..5_000).map(|seq| Line::of("n1", seq, seq % 3_000).to_string()).collect();
    place.write("flows.json", &log);
    let flowlog = program::flowlog().unwrap();
    let words = "\"$FLOWLOG\" observe flows.json | head -n 1; echo \"${PIPESTATUS[0]}\"";
    let flowlog = format!("FLOWLOG={}", flowlog.display());
    let said = place.alone(&["env", &flowlog, "bash", "-c", words], &[]);
    assert_eq!((said.stdout.lines().last(), &*said.stderr), (Some("0"), ""), "{said:?}");
}
