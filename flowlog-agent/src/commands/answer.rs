//! Answers of subcommands, on standard output; a reader that left is no failure.

use std::io::{self, Write};
use std::process::ExitCode;

/// Print an answer. 0, also where the reader is gone; 2 where it could not be printed.
pub(super) fn print(text: &str) -> ExitCode {
    put(&mut io::stdout().lock(), text)
}

/// The same with styles, which only a terminal shows (and none where `NO_COLOR` is set).
pub(super) fn show(text: &str) -> ExitCode {
    put(&mut anstream::stdout().lock(), text)
}

fn put(out: &mut impl Write, text: &str) -> ExitCode {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // The own log may not be set up yet, and stderr may be gone as well.
            let _ = writeln!(io::stderr(), "flowlog: cannot write the answer to standard output: {error}");
            ExitCode::from(2)
        }
    }
}
