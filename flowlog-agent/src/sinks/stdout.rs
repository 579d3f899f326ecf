//! Standard output: lines for a pipe, a terminal or the container runtime. A reader that leaves ends the
//! agent where it is the only one, and else this output alone; a reader that stops reading costs lines, never capture.

use super::output::{self, Batch, Output, PIPE_BATCH_BYTES, WriteError};
use super::probe::Step;
use super::{SinkError, SinkKind};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

pub(super) const KIND: SinkKind = SinkKind {
    name: "stdout",
    takes: |output| output == "stdout" || output == "-",
    open: |opening| match opening.request.rotation {
        Some(_) => Err(SinkError::NotRotated { output: opening.request.to.clone() }),
        None => Ok(Box::new(Stdout::open()?)),
    },
    probe: |_| vec![Step::fine("stdout", "whoever reads standard output has the lines".to_owned())],
    #[cfg(test)]
    fixture: tests::fixture,
    #[cfg(test)]
    consumer: false,
};

/// Standard output, past the buffer and the lock of `std::io::stdout`. Its flags are not touched: the open
/// file is shared with other processes.
struct Stdout(File);

impl Stdout {
    fn open() -> Result<Self, SinkError> {
        let own = io::stdout().as_fd().try_clone_to_owned().map_err(|source| SinkError::Stdout { source })?;
        Ok(Self(File::from(own)))
    }
}

impl Output for Stdout {
    fn batch_bytes(&self) -> usize {
        PIPE_BATCH_BYTES
    }

    fn write(&mut self, batch: Batch<'_>, wait: Duration) -> Result<(), WriteError> {
        let lines = batch.bytes;
        match output::wait_writable(&self.0, wait) {
            Ok(true) => {}
            Ok(false) => return Err(WriteError::NotReady),
            Err(error) => return Err(WriteError::Failed { written: 0, error }),
        }
        match output::write_all(&self.0, lines) {
            (_, Ok(())) => Ok(()),
            (0, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(WriteError::NotReady),
            (written, Err(error)) => {
                let written = output::whole_lines(lines.get(..written).unwrap_or_default());
                if error.kind() == io::ErrorKind::BrokenPipe {
                    return Err(WriteError::Closed { written });
                }
                Err(WriteError::Failed { written, error })
            }
        }
    }

    fn tick(&mut self) -> Result<bool, WriteError> {
        if output::reader_gone(&self.0) {
            return Err(WriteError::Closed { written: 0 });
        }
        Ok(false)
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sinks::tests::Fixture;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    /// Standard output with a pipe in its place.
    pub(in crate::sinks) fn on_pipe() -> (Box<dyn Output>, File) {
        let (read, write): (OwnedFd, OwnedFd) = nix::unistd::pipe().unwrap();
        (Box::new(Stdout(File::from(write))), File::from(read))
    }

    pub(in crate::sinks) fn fixture() -> Fixture {
        let (output, mut read) = on_pipe();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            read.read_to_string(&mut text).unwrap();
            text
        });
        Fixture { output, framed: false, read_back: Box::new(move || reader.join().unwrap()) }
    }
}
