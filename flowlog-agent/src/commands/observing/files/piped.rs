//! A pipe that is followed: a thread waits for whoever writes, so that nobody else does.

use crate::commands::logs;
use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

/// Pieces that wait to be read; the thread waits where there are more, and whoever writes behind it.
const WAITING: usize = 4;

/// Bytes of a piece.
const PIECE: usize = 1 << 16;

/// What came through it.
pub(super) struct Piped {
    pieces: Receiver<io::Result<Bytes>>,
    now: Bytes,
}

impl Piped {
    /// What this opens, which may wait itself.
    pub(super) fn new<R: Read + Send + 'static>(
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (tell, pieces) = sync_channel(WAITING);
        let read = move || {
            if let Err(error) = pass(open, &tell) {
                // Nobody listens who has gone.
                let _ = tell.send(Err(error));
            }
        };
        thread::Builder::new()
            .name("flowlog-pipe".to_owned())
            .spawn(read)
            .context("start what reads a pipe")?;
        Ok(Self { pieces, now: Bytes::new() })
    }
}

fn pass<R: Read + Send + 'static>(
    open: impl FnOnce() -> io::Result<R>,
    tell: &SyncSender<io::Result<Bytes>>,
) -> io::Result<()> {
    let (mut reader, _) = logs::open(open()?).map_err(io::Error::other)?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = match reader.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if tell.send(Ok(Bytes::copy_from_slice(piece.get(..read).unwrap_or_default()))).is_err() {
            return Ok(());
        }
    }
}

impl Read for Piped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.now.is_empty() {
            match self.pieces.try_recv() {
                Ok(piece) => self.now = piece?,
                Err(TryRecvError::Empty) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(TryRecvError::Disconnected) => return Ok(0),
            }
        }
        let count = into.len().min(self.now.len());
        self.now.copy_to_slice(into.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;
    use std::time::{Duration, Instant};

    /// The next that is no waiting.
    fn next(piped: &mut Piped) -> io::Result<Vec<u8>> {
        let (begun, mut into) = (Instant::now(), [0; 4]);
        while begun.elapsed() < Duration::from_secs(10) {
            match piped.read(&mut into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
                read => return read.map(|read| into[..read].to_vec()),
            }
        }
        panic!("nothing comes");
    }

    #[test]
    fn a_pipe_is_read_as_it_is_written_and_keeps_nobody_waiting() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut write = File::from(write);
        let mut piped = Piped::new(move || Ok(File::from(read))).unwrap();
        assert_eq!(piped.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        write.write_all(b"one, two").unwrap();
        let mut told = Vec::new();
        while told.len() < 8 {
            told.extend(next(&mut piped).unwrap());
        }
        assert_eq!(told, b"one, two");
        assert_eq!(piped.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(write);
        assert_eq!(next(&mut piped).unwrap(), b"");
        let mut gone = Piped::new(|| File::open("/gone/pipe")).unwrap();
        assert_eq!(next(&mut gone).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
