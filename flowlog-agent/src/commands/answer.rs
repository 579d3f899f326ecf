//! Answers of subcommands, on standard output; a reader that left is no failure.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

/// Print an answer. 0, also where the reader is gone; 2 where it could not be printed.
pub(super) fn print(text: &str) -> ExitCode {
    put(&mut io::stdout().lock(), text.as_bytes())
}

/// The same with styles, which only a terminal shows (and none where `NO_COLOR` is set).
pub(super) fn show(text: &str) -> ExitCode {
    put(&mut anstream::stdout().lock(), text.as_bytes())
}

/// The same of an answer that is written as it is made.
pub(super) fn write<E: Into<io::Error>>(write: impl FnOnce(&mut dyn Write) -> Result<(), E>) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    code_of(write(&mut out).map_err(E::into).and_then(|()| out.flush()))
}

fn put(out: &mut impl Write, bytes: &[u8]) -> ExitCode {
    code_of(out.write_all(bytes).and_then(|()| out.flush()))
}

fn code_of(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // The own log may not be set up yet, and stderr may be gone as well.
            let _ = writeln!(io::stderr(), "flowlog: cannot write the answer to standard output: {error}");
            ExitCode::from(2)
        }
    }
}
