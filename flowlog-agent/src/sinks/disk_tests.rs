//! A file on a disk that fills up, and that is read-only for a while: a real one, of the test's own.

use super::tests::{LONG, flow, only, read, start_file, sum, wait_until};
use super::{QueueLimits, Sinks};
use crate::model::Class;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const SMALL: QueueLimits = QueueLimits { lines: 80, bytes: 1 << 20 };
const DISK: &str = "size=256k";

/// In a mount namespace of its own, which goes with the thread and those that it starts.
fn alone(test: fn(&Path)) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount::<str, str, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        test(folder.path());
    };
    std::thread::spawn(run).join().unwrap();
}

/// A disk, as long as this.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, flags: MsFlags) -> Self {
        mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(DISK)).unwrap();
        Self(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

fn offer(sinks: &Sinks, count: usize) {
    for _ in 0..count {
        sinks.offer([flow(Class::DeniedAttempt, 1)]);
    }
}

/// What was offered is there, or is told as lost, and the counters say the same.
fn check(sinks: Sinks, files: &[PathBuf], offered: u64) -> Vec<Value> {
    let counters = only(sinks.finish(LONG));
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let lines = read(&text);
    let written = sum(&lines, "flow", "denied_attempt", |line| &line["flow"]["count"]);
    let lost = sum(&lines, "loss", "denied_attempt", |line| &line["loss"]["count"]);
    assert!(lost > 0, "more than the queue holds");
    assert_eq!(written + lost, offered);
    assert_eq!((counters.attempts, counters.lost_attempts), (written, lost));
    lines
}

#[test]
#[ignore = "root: mounts a disk of its own"]
fn a_disk_that_fills_up_costs_what_is_told_and_is_used_again_when_there_is_room() {
    alone(|base| {
        let folder = base.join("disk");
        fs::create_dir(&folder).unwrap();
        let _disk = Disk::mount(&folder, MsFlags::empty());
        let (file, ballast) = (folder.join("flows.json"), folder.join("ballast"));
        fs::write(&ballast, vec![0; 160 << 10]).unwrap();
        let sinks = start_file(&file, SMALL);
        let mut offered = 0;
        wait_until("the disk is full", || {
            offer(&sinks, 20);
            offered += 20;
            only(sinks.counters()).failures > 0
        });
        offer(&sinks, 300);
        let whole = fs::read_to_string(&file).unwrap();
        assert!(whole.ends_with("}\n"), "no line is torn: {:?}", whole.lines().last());
        fs::remove_file(&ballast).unwrap();
        assert!(sinks.flush(LONG), "it recovers by itself");
        let told = check(sinks, &[file], offered + 300);
        assert!(told.iter().any(|line| line["loss"]["cause"] == "write_failed"));
    });
}

#[test]
#[ignore = "root: mounts a disk of its own"]
fn a_folder_that_is_read_only_for_a_while_costs_what_is_told() {
    alone(|base| {
        let folder = base.join("log");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("flows.json");
        let sinks = start_file(&file, SMALL);
        offer(&sinks, 10);
        assert!(sinks.flush(LONG));
        // Another disk in its place, as after a remount.
        let disk = Disk::mount(&folder, MsFlags::MS_RDONLY);
        wait_until("nothing can be written", || only(sinks.counters()).failures > 0);
        offer(&sinks, 300);
        drop(disk);
        offer(&sinks, 10);
        assert!(sinks.flush(LONG), "it recovers by itself");
        check(sinks, &[file], 320);
    });
}

/// Not by a rename: what was in it is gone, and what comes is in another file of that name.
#[test]
fn a_file_that_is_deleted_under_traffic_costs_no_line_that_comes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flows.json");
    let sinks = start_file(&file, QueueLimits::default());
    offer(&sinks, 10);
    assert!(sinks.flush(LONG));
    let before = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    offer(&sinks, 10);
    assert!(sinks.flush(LONG));
    let counters = only(sinks.finish(LONG));
    let lines = read(&format!("{before}{}", fs::read_to_string(&file).unwrap()));
    assert_eq!((lines.len(), counters.attempts, counters.lost_attempts), (20, 20, 0));
}
