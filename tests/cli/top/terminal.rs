//! A terminal that is not ours: tmux's, with a shell in it.

use flowlog_tests::{program, wait};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// It goes with its server.
pub(super) struct Terminal(String);

impl Terminal {
    /// A shell in this folder, with these variables.
    pub(super) fn open(folder: &Path, variables: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let terminal = Self(format!("flowlog-test-{}-{number}", std::process::id()));
        let mut words = vec![
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "-c",
            folder.to_str().unwrap(),
        ];
        let set: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        set.iter().for_each(|set| words.extend(["-e", set]));
        words.extend(["env", "-u", "ENV", "PS1=$ ", "sh"]);
        terminal.tmux(&words);
        terminal.sees(&["$"]);
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let words = [&["-u", "-L", &self.0], words].concat();
        let output = program::run("tmux", "tmux", &words, "").unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// `flowlog top` with these words.
    pub(super) fn top(&self, words: &str) {
        self.types(&format!("{} top {words}", program::flowlog().unwrap().display()));
    }

    /// A line at the shell.
    pub(super) fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press(&["Enter"]);
    }

    /// Keys, by tmux's names.
    pub(super) fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    pub(super) fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    pub(super) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until all of it is on the screen.
    #[track_caller]
    pub(super) fn sees(&self, parts: &[&str]) {
        self.waits(parts, |screen| parts.iter().all(|part| screen.contains(part)));
    }

    #[track_caller]
    pub(super) fn waits(&self, what: impl std::fmt::Debug, mut holds: impl FnMut(&str) -> bool) {
        let mut screen = String::new();
        let found = wait::until("it is on the screen", SOON, || {
            screen = self.screen();
            Ok(holds(&screen))
        });
        found.unwrap_or_else(|error| panic!("{error}: {what:?}\n{screen}"));
    }

    /// The program in it, by what it is called.
    pub(super) fn command(&self) -> String {
        self.tmux(&["display-message", "-p", "#{pane_current_command} #{alternate_on}"]).trim().to_owned()
    }

    /// The shell's process.
    pub(super) fn shell(&self) -> i32 {
        self.tmux(&["display-message", "-p", "#{pane_pid}"]).trim().parse().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = program::run("tmux", "tmux", &["-L", &self.0, "kill-server"], "");
    }
}
