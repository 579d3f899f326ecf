//! A connect by io_uring.

use crate::steps::{Attempt, Failure};
use anyhow::{Context, Result, bail};
use io_uring::squeue::Flags;
use io_uring::{IoUring, opcode, types};
use nix::errno::Errno;
use socket2::SockAddr;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// Connect, and wait until it came to something; the kernel gives up by itself.
pub(crate) fn connect(socket: &OwnedFd, to: SocketAddr, by_worker: bool) -> Result<Attempt> {
    let mut ring = IoUring::new(1).context("set up an io_uring")?;
    let to = SockAddr::from(to);
    let fd = types::Fd(socket.as_raw_fd());
    let flags = if by_worker { Flags::ASYNC } else { Flags::empty() };
    let entry = opcode::Connect::new(fd, to.as_ptr().cast(), to.len()).build().flags(flags);
    // SAFETY: the address and the socket live until the kernel has answered, for which is waited below.
    #[expect(unsafe_code, reason = "the kernel reads memory later that this points to")]
    let pushed = unsafe { ring.submission().push(&entry) };
    pushed.context("hand over a connect")?;
    ring.submit_and_wait(1).context("wait for a connect")?;
    let Some(answer) = ring.completion().next() else { bail!("io_uring has no answer") };
    Ok(match answer.result() {
        error if error < 0 => Err(Failure::Errno(Errno::from_raw(-error))),
        _ => Ok(()),
    })
}
